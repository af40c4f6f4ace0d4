"""Where the samples come from and how many of them are used."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lossmap.components.core.frozen import Frozen


class Blobs(Frozen):
    """Synthetic images: one random pattern for each class, and Gaussian noise around it."""

    classes: Annotated[int, Field(ge=2)] = Field(4, description="number of classes")
    train_per_class: PositiveInt = Field(200, description="training images of each class")
    test_per_class: PositiveInt = Field(50, description="test images of each class")
    image_size: PositiveInt = Field(8, description="pixels a side of every image")
    noise: PositiveFloat = Field(
        0.25,
        description="standard deviation of the noise, as a share of the pixel range",
    )


# of images; data/sources.py knows where they come from
NAMED_SOURCES = (
    "digits",
    "cifar10",
    "cifar100",
    "fashion-mnist",
    "blobs",
)
TENSOR_FILES = (".safetensors", ".npz", ".npy", ".pt", ".pth", ".csv", ".tsv")
TAKEN = (
    f"a folder or zip of images, or tensors in a {', '.join(TENSOR_FILES[:-1])} or {TENSOR_FILES[-1]} file"
)
CLASS_ORDERS = ("names", "numbers")
TASKS = "tasks"  # the source that is several tasks at once
TaskName = Literal["images", "digits-images", "digits-tokens", "breast-cancer", "wine"]
IN_PROCESS = "in process"  # where a network, a loss or tensors were handed over in Python


class Data(Frozen):
    """Where the samples come from and how many of them are used. A file of tensors is for imported
    networks.
    """

    source: str = Field(
        "digits",
        min_length=1,
        description=(
            f"{', '.join(NAMED_SOURCES)}, or the path or s3:// URI of {TAKEN} with inputs and targets (and"
            " test_inputs and test_targets); or tasks, several at once"
        ),
    )
    tasks: tuple[TaskName, ...] = Field(
        ("digits-images", "digits-tokens", "breast-cancer"),
        min_length=1,
        description="the tasks that one network learns together, with source tasks",
    )
    images: str = Field(
        "cifar10",
        min_length=1,
        description=(
            "data set behind the task images, with source tasks: a name, or the path or s3:// URI of "
            "a folder or zip of images"
        ),
    )
    limit: PositiveInt | None = Field(
        None,
        description=(
            "number of training samples to keep (of each task), the same number of each class where "
            "possible; null: all"
        ),
    )
    test_limit: PositiveInt | None = Field(
        None,
        description=(
            "number of test samples to keep (of each task), the same number of each class where "
            "possible; null: all"
        ),
    )
    image_size: PositiveInt | None = Field(
        None,
        description=(
            "pixels a side to which every image is resized; null: as they are, and images of mixed "
            "sizes are refused"
        ),
    )
    crop: PositiveInt | None = Field(
        None,
        description=(
            "pixels a side that are cut out of every image's centre, after its shorter side has been resized"
            " to image_size, as torchvision's Resize and CenterCrop do; null: the whole image, both sides"
            " resized to image_size"
        ),
    )
    interpolation: Literal["bilinear", "bicubic"] | None = Field(
        None, description="how images are resized; null: bilinear with a crop, else bicubic"
    )
    channels: Literal[1, 3] | None = Field(
        None,
        description=(
            "1: grey, 3: colours, as torchvision's ImageFolder gives them also for grey images; null: 1 where"
            " all images of a folder are grey, else 3"
        ),
    )
    class_order: str = Field(
        "names",
        min_length=1,
        description=(
            "how a folder's classes are numbered: names (1, 10, 2: as torchvision's ImageFolder), numbers"
            " (1, 2, 10, then other names), or the path or s3:// URI of a text file with a class on each line"
        ),
    )
    split: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description=(
            "share of the samples of each class that are the test set, drawn by the seed, where the source"
            " has none; null: a fifth of images, none of tensors"
        ),
    )
    target: str | None = Field(
        None, min_length=1, description="the column of a table that is predicted; null: the last"
    )
    layout: Literal["NCHW", "NHWC", "NHW"] | None = Field(
        None,
        description=(
            "what the dimensions of input tensors are, N samples, C channels, H rows, W columns: the network"
            " gets N x C x H x W, and uint8 is scaled and normalised as images are; null: tensors as they are"
        ),
    )
    not_finite: Literal["refuse", "keep"] = Field(
        "refuse", description="what becomes of tensors with NaN or infinity in them"
    )
    mean: tuple[Annotated[float, Field(ge=0, le=1)], ...] | None = Field(
        None,
        description=(
            "mean of each channel, of pixels in [0, 1], that is subtracted, such as that of a "
            "published network's training; null: as measured on the training images"
        ),
    )
    deviation: tuple[PositiveFloat, ...] | None = Field(
        None,
        description=(
            "standard deviation of each channel, of pixels in [0, 1], that divides what is left; "
            "null: as measured on the training images"
        ),
    )
    blobs: Blobs = Field(Blobs(), description="the synthetic images, with source blobs")
    seed: NonNegativeInt = Field(
        0,
        description=(
            "which samples are kept, which are the test set where the source has none, and what blobs"
            " look like"
        ),
    )

    @model_validator(mode="after")
    def _normalisation_is_whole(self) -> Self:
        mean, deviation = (None if values is None else len(values) for values in (self.mean, self.deviation))
        if mean != deviation or mean == 0:
            raise ValueError(
                f"mean is {self.mean} and deviation is {self.deviation}, expected one number for each channel"
                " in both, or neither"
            )
        return self

    @model_validator(mode="after")
    def _tasks_are_taken_as_they_are(self) -> Self:
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks are {', '.join(self.tasks)}, expected each at most once")
        if self.source == TASKS and (self.image_size or self.mean):
            raise ValueError(
                "source is tasks and there is an image_size, mean or deviation, expected none: tasks are"
                " scaled by their own training samples"
            )
        return self

    @model_validator(mode="after")
    def _named_sources_have_splits_of_their_own(self) -> Self:
        if self.split and self.source in (*NAMED_SOURCES, TASKS):
            raise ValueError(
                f"split is {self.split} and source is {self.source}, expected null: it has a test set"
            )
        return self

    @property
    def of_other_sources(self) -> set[str]:
        """The fields that say nothing, because another source has them."""
        owners = {"blobs": "blobs", "tasks": TASKS, "images": TASKS}
        return {field for field, source in owners.items() if source != self.source}

    @property
    def files(self) -> dict[str, str]:
        """The fields that give the path or URI of a file or folder and no name of a source, with what they
        give.
        """
        read = {"source": self.source}
        if self.source == TASKS:
            read = {"images": self.images} if "images" in self.tasks else {}
        read |= {} if self.class_order in CLASS_ORDERS else {"class_order": self.class_order}
        return {field: place for field, place in read.items() if place not in NAMED_SOURCES}

    @property
    def places(self) -> tuple[str, ...]:
        """The files that the source is: of X.npy,y.npy two."""
        several = self.source.lower().endswith(".npy")
        return tuple(self.source.split(",")) if several else (self.source,)

    @property
    def holds_tensors(self) -> bool:
        """Whether the source is a file of tensors, or tensors that were handed over in Python, and not of
        images.
        """
        return self.source == IN_PROCESS or self.source.lower().endswith(TENSOR_FILES)
