"""How a network is trained."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lossmap.components.core.frozen import Frozen

_LARGEST = 1e38  # float32, in which steps are made, ends soon after it


class Optimizer(Frozen):
    """Stochastic gradient descent or Adam, as in torch.optim."""

    algorithm: Literal["sgd", "adam", "adamw"] = Field("sgd", description="the optimizer, as in torch.optim")
    learning_rate: PositiveFloat = Field(
        0.1,
        le=_LARGEST,
        description="largest learning rate, which the schedule multiplies",
    )
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="momentum of sgd")
    nesterov: bool = Field(False, description="use Nesterov's momentum, with sgd")
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        (0.9, 0.999),
        description="decay of Adam's two moving averages, with adam and adamw",
    )
    weight_decay: NonNegativeFloat = Field(
        0.0,
        le=_LARGEST,
        description="weight decay, on every parameter as in He et al. 2016",
    )
    decay_norms_and_biases: bool = Field(
        True,
        description=(
            "let the weight decay act on biases and on the parameters of normalisation, too; He et al. 2019, "
            "section 3.1, leave them out"
        ),
    )

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov is true and momentum is 0, expected a momentum above 0")
        return self


class Schedule(Frozen):
    """The factor on the learning rate, as a function of the epoch (fractional: it moves at every step)."""

    shape: Literal["constant", "step", "cosine", "linear"] = Field(
        "cosine",
        description=(
            "how the learning rate goes on after the warm-up; linear falls to zero: with a warm-up one "
            "cycle, for few epochs"
        ),
    )
    warmup_epochs: NonNegativeFloat = Field(
        0.0,
        description="epochs over which the learning rate rises linearly at first",
    )
    milestones: tuple[PositiveFloat, ...] = Field(
        (),
        description="epochs at which the learning rate is multiplied by decay, with shape step",
    )
    decay: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1,
        description="factor at each milestone, with shape step",
    )

    @model_validator(mode="after")
    def _milestones_fit_the_shape(self) -> Self:
        if (self.shape == "step") != bool(self.milestones):
            raise ValueError(
                f"shape is {self.shape} and milestones are {list(self.milestones)}, expected milestones with"
                " shape step and with no other"
            )
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones are {list(self.milestones)}, expected them rising")
        return self


class Augmentation(Frozen):
    """Random changes of the training images."""

    crop_padding: NonNegativeInt = Field(
        0,
        description=(
            "zero pixels that are added around an image before it is cropped back at a random place; "
            "0: no crop"
        ),
    )
    flip: bool = Field(False, description="mirror left and right with probability one half")


class Training(Frozen):
    """How the network is trained, by how many processes."""

    epochs: PositiveInt = Field(10, description="passes over the training samples")
    batch_size: PositiveInt = Field(128, description="images in a global batch, over all processes together")
    optimizer: Optimizer = Field(Optimizer(), description="the optimizer and its settings")
    schedule: Schedule = Field(Schedule(), description="the learning rate over the epochs")
    augmentation: Augmentation = Field(Augmentation(), description="random changes of the training images")
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="probability that is taken from the right class and spread over all of them",
    )
    gradient_clip: PositiveFloat | None = Field(
        None,
        description="largest Euclidean norm of the whole gradient; null: no limit",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "float32",
        description=(
            "number type of the forward and backward pass; weights stay float32; auto: bfloat16 where the "
            "device is faster in it, else float32, and what a training began in to its end"
        ),
    )
    channels_last: bool = Field(
        False,
        description=(
            "keep images with the channel as the last dimension in memory, which is faster for some "
            "convolutions"
        ),
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="what trains the network; auto takes GPUs where there are any",
    )
    processes: PositiveInt = Field(
        2,
        description="data-parallel processes, each with the same share of every batch",
    )
    threads: PositiveInt = Field(
        1,
        description="CPU threads of each process; the number is part of the result's last bits",
    )
    checkpoint_seconds: NonNegativeFloat = Field(
        60.0,
        description="least seconds between two checkpoints; 0 saves after every step",
    )
    trajectory_every: PositiveInt | None = Field(
        None,
        description=(
            "epochs between two stored snapshots of the weights; null: as few as keep all of them within "
            "2 GiB"
        ),
    )
    seed: NonNegativeInt = Field(0, description="which weights, orders and augmentations are drawn")

    @model_validator(mode="after")
    def _batch_is_divisible(self) -> Self:
        if self.batch_size % self.processes:
            raise ValueError(
                f"batch_size is {self.batch_size}, expected a multiple of processes ({self.processes})"
            )
        return self
