"""The networks, each by its own settings."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    JsonValue,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from lossmap.components.config.data import IN_PROCESS
from lossmap.components.core.frozen import Frozen


class Linear(Frozen):
    """Softmax regression: logits = W x + b. Its cross-entropy is convex in (W, b)."""

    architecture: Literal["linear"] = Field("linear", description="kind of network")
    seed: NonNegativeInt = Field(0, description="which weights the network starts from")


class Mlp(Frozen):
    """A multi-layer perceptron with rectified linear units."""

    architecture: Literal["mlp"] = Field("mlp", description="kind of network")
    hidden: tuple[PositiveInt, ...] = Field(
        (128, 128),
        min_length=1,
        description="width of each hidden layer",
    )
    seed: NonNegativeInt = Field(0, description="which weights the network starts from")


class Vgg(Frozen):
    """VGG for small images: VGG-9 as in Li et al. 2018, 16 and 19 as in Simonyan & Zisserman 2015; every
    layer but the last has BatchNorm.
    """

    architecture: Literal["vgg"] = Field("vgg", description="kind of network")
    depth: Literal[9, 16, 19] = Field(9, description="number of layers with weights")
    channels: PositiveInt = Field(
        64,
        description="channels of the first stage; the next ones have twice, four and eight times as many",
    )
    seed: NonNegativeInt = Field(0, description="which weights the network starts from")


class ResNet(Frozen):
    """The CIFAR residual network of He et al. 2016, with or without its shortcuts, and as wide as in Li et
    al. 2018.
    """

    architecture: Literal["resnet"] = Field("resnet", description="kind of network")
    depth: PositiveInt = Field(
        20,
        description="number of layers with weights, 6n + 2: 20, 32, 44, 56 or 110 in the paper",
    )
    width: PositiveInt = Field(1, description="factor on the number of channels: k of Li et al. 2018")
    shortcuts: bool = Field(
        True,
        description="add each block's input to its output; false: the same network without",
    )
    shortcut_option: Literal["A", "B"] = Field(
        "A",
        description=(
            "what a shortcut does where the shape changes: A pads with zeros, B projects by a 1x1 convolution"
        ),
    )
    seed: NonNegativeInt = Field(0, description="which weights the network starts from")

    @model_validator(mode="after")
    def _depth_is_possible(self) -> Self:
        _check_depth(self.depth, 6, 2, "20, 32, 44, 56 or 110")
        return self


class PreactivationResNet(Frozen):
    """The residual network with BatchNorm and activation before each convolution, of He et al. 2016b."""

    architecture: Literal["preactivation-resnet"] = Field(
        "preactivation-resnet",
        description="kind of network",
    )
    depth: PositiveInt = Field(
        110,
        description=(
            "number of layers with weights, 6n + 2, or 9n + 2 with bottlenecks: 110, or 164 and 1001 "
            "in the paper"
        ),
    )
    bottleneck: bool = Field(
        False,
        description="build blocks of three convolutions (1x1, 3x3, 1x1) with four times the channels outside",
    )
    shortcuts: bool = Field(
        True,
        description="add each block's input to its output; false: the same network without",
    )
    seed: NonNegativeInt = Field(0, description="which weights the network starts from")

    @model_validator(mode="after")
    def _depth_is_possible(self) -> Self:
        each, examples = (9, "11, 29, 164 or 1001") if self.bottleneck else (6, "8, 20, 56 or 110")
        _check_depth(self.depth, each, 2, examples)
        return self


class WideResNet(Frozen):
    """WRN-depth-width of Zagoruyko & Komodakis 2016, with or without its shortcuts."""

    architecture: Literal["wide-resnet"] = Field("wide-resnet", description="kind of network")
    depth: PositiveInt = Field(
        28,
        description="number of layers with weights, 6n + 4: 16, 22, 28 or 40 in the paper",
    )
    width: PositiveInt = Field(10, description="factor on the number of channels: k in the paper")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description=(
            "share of the numbers that is dropped between the two convolutions of a block while training"
        ),
    )
    shortcuts: bool = Field(
        True,
        description="add each block's input to its output; false: the same network without",
    )
    seed: NonNegativeInt = Field(0, description="which weights the network starts from")

    @model_validator(mode="after")
    def _depth_is_possible(self) -> Self:
        _check_depth(self.depth, 6, 4, "16, 22, 28 or 40")
        return self


class DenseNet(Frozen):
    """DenseNet-BC of Huang et al. 2017, by its depth, or by the layers of each block as in the 121-layer
    variant of Li et al. 2018.
    """

    architecture: Literal["densenet"] = Field("densenet", description="kind of network")
    depth: PositiveInt | None = Field(
        None,
        description=(
            "number of layers with weights in three equal blocks, 6n + 4 with bottlenecks, 3n + 4 "
            "without: 40 or 100; null with blocks"
        ),
    )
    blocks: tuple[PositiveInt, ...] = Field(
        (),
        description=(
            "number of layers of each block in place of a depth, such as (6, 12, 24, 16) of the "
            "121-layer network"
        ),
    )
    growth: PositiveInt = Field(12, description="channels that every layer adds: k in the paper")
    bottleneck: bool = Field(
        True,
        description=(
            "put a 1x1 convolution to 4k channels in front of each layer's 3x3 convolution: B in the paper"
        ),
    )
    compression: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5,
        description="share of the channels that a transition between blocks leaves: theta in the paper, C",
    )
    seed: NonNegativeInt = Field(0, description="which weights the network starts from")

    @model_validator(mode="after")
    def _depth_is_possible(self) -> Self:
        if (self.depth is None) == (not self.blocks):
            raise ValueError(
                f"depth is {self.depth} and blocks are {list(self.blocks)}, expected exactly one of them, for"
                " example depth 40"
            )
        if self.depth is not None:
            _check_depth(self.depth, 6 if self.bottleneck else 3, 4, "40 or 100")
        return self


def _check_depth(depth: int, each: int, others: int, examples: str) -> None:
    """Whether a network of equal stages has that depth: n blocks with `each` layers and some others."""
    if depth < each + others or (depth - others) % each:
        raise ValueError(f"depth is {depth}, expected {each}n + {others} with n >= 1, for example {examples}")


# of a network's layers of experts, by epoch
BALANCE = (
    "balance_loss",
    "importance_cv",
    "load_cv",
    "load_max_over_mean",
    "dropped_share",
)


class Experts(Frozen):
    """A sparsely-gated layer of experts with noisy top-k gating, of Shazeer et al. 2017."""

    count: Annotated[int, Field(ge=2)] = Field(8, description="number of experts: n in the paper")
    active: PositiveInt = Field(2, description="number of experts that each input goes to: k in the paper")
    hidden: PositiveInt = Field(64, description="width of each expert's hidden layer")
    noisy: bool = Field(True, description="add noise of a learnt deviation to the gates while training")
    importance_weight: NonNegativeFloat = Field(
        0.1,
        description=(
            "weight of the loss CV(importance)^2, which the paper adds to make all experts equally important"
        ),
    )
    load_weight: NonNegativeFloat = Field(
        0.1,
        description=(
            "weight of the loss CV(load)^2, which makes all experts get equally many inputs; it needs"
            " the noise"
        ),
    )
    capacity: PositiveFloat | None = Field(
        None,
        description=(
            "how many times its fair share of a batch an expert takes at most, the rest being "
            "dropped; null: everything"
        ),
    )
    spread_over_ranks: bool = Field(
        False,
        description=(
            "let each data-parallel process compute some of the experts, for the inputs of all processes"
        ),
    )

    @model_validator(mode="after")
    def _experts_are_enough(self) -> Self:
        if self.active > self.count:
            raise ValueError(f"active is {self.active}, expected at most count ({self.count})")
        if self.load_weight and not (self.noisy and self.active < self.count):
            raise ValueError(
                f"load_weight is {self.load_weight}, expected 0 without noise or with all experts active: the"
                " load is then no smooth function"
            )
        return self


class MixtureOfExperts(Frozen):
    """A network whose middle is a layer of experts: a perceptron, or a convolutional network that gates
    every place of the image.
    """

    architecture: Literal["mixture-of-experts"] = Field("mixture-of-experts", description="kind of network")
    body: Literal["perceptron", "convolutional"] = Field(
        "perceptron",
        description=(
            "what surrounds the layer of experts: a perceptron, or convolutions, where every place of"
            " the image is an input of its own"
        ),
    )
    width: PositiveInt = Field(
        64,
        description="numbers by which the layer of experts represents an input, or a place of an image",
    )
    experts: Experts = Field(Experts(), description="the layer of experts")
    seed: NonNegativeInt = Field(0, description="which weights the network starts from")


class MultiModel(Frozen):
    """One network for several tasks, after Kaiser et al. 2017: modality nets around a shared body of
    convolutions, attention and experts.
    """

    architecture: Literal["multimodel"] = Field("multimodel", description="kind of network")
    width: PositiveInt = Field(
        32,
        description="numbers by which the body represents each place of a sequence; a multiple of heads",
    )
    blocks: PositiveInt = Field(2, description="number of blocks of the shared encoder")
    heads: PositiveInt = Field(4, description="number of heads of each attention block")
    experts: Experts = Field(Experts(hidden=64), description="the layer of experts in each block")
    seed: NonNegativeInt = Field(0, description="which weights the network starts from")

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width is {self.width}, expected a multiple of heads ({self.heads})")
        return self


class Checkpoint(Frozen):
    """A file of weights. In a list, its place alone does for it."""

    weights: str = Field(
        min_length=1, description="path or s3:// URI, with :key behind it where the file holds several sets"
    )
    weights_key: str | None = Field(None, min_length=1, description="key of one of several sets of weights")
    weights_sha256: str | None = Field(None, description="SHA-256 of the file; noted when the run is made")

    @model_validator(mode="before")
    @classmethod
    def _a_place_alone(cls, value: Any) -> Any:
        return {"weights": value} if isinstance(value, str) else value

    @property
    def name(self) -> str:
        """For people: the file without its folder, and the key."""
        file = self.weights.rpartition("/")[2].removeprefix(IN_PROCESS).strip()
        return f"{file}:{self.weights_key}" if self.weights_key else file


class Trajectory(Frozen):
    """A path of weights, such as an optimiser took."""

    label: str = Field("", description="what the path is called, as the name of the optimiser")
    checkpoints: Annotated[tuple[Checkpoint, ...], Field(min_length=2)] = Field(
        description="two files of weights or more, in their order, each as model.weights"
    )


class Imported(Frozen):
    """A network that lossmap did not train: what a function of the user's returns, with the weights of a
    file.
    """

    architecture: Literal["imported"] = Field("imported", description="kind of network")
    factory: str = Field(
        IN_PROCESS,
        description=(
            "package.module:function that returns the network, or its class; `in process` where the "
            "network itself was handed over in Python"
        ),
    )
    arguments: dict[str, JsonValue] = Field({}, description="keyword arguments of the factory")
    loss: str = Field(
        "cross-entropy",
        min_length=1,
        description="what is surveyed: cross-entropy, mse, or package.module:function of outputs and targets",
    )
    classes: bool | None = Field(
        None,
        description=(
            "whether integer targets are classes, so that there is a share of wrong answers; null: where "
            "the loss, the outputs and the targets say so"
        ),
    )
    weights: str | None = Field(
        None,
        description=(
            "path or s3:// URI of the network's weights, .safetensors or what torch.save writes, with :key"
            " behind it where the file holds several; null: the factory's own weights"
        ),
    )
    weights_key: str | None = Field(
        None,
        min_length=1,
        description=(
            "key of one of several sets of weights in the file, such as state_dict_ema; `.` for what lies"
            " under no key; null: the one that fits"
        ),
    )
    trajectories: tuple[Trajectory, ...] = Field(
        (),
        description=(
            "paths of weights that lie on the plane, or that it is made of, with landscape.directions "
            "trajectory; each a label and its checkpoints"
        ),
    )
    weights_sha256: str | None = Field(
        None,
        description=(
            "SHA-256 of the file of weights, or of the weights that the factory gives; noted when the run is "
            "made"
        ),
    )
    source_sha256: str | None = Field(
        None,
        description=(
            "SHA-256 over the Python files that hold the factory and the loss, and those that they import; "
            "noted when the run is made"
        ),
    )
    object_sha256: str | None = Field(
        None,
        description=(
            "SHA-256 over what the factory and the loss became, besides parameters: attributes, buffers, and "
            "values that their code refers to, such as what they read of files and of the environment; noted "
            "when the run is made"
        ),
    )
    seed: NonNegativeInt = Field(0, description="which weights the network starts from")

    @model_validator(mode="after")
    def _factory_can_be_found(self) -> Self:
        module, colon, function = self.factory.partition(":")
        parts = [*module.split("."), *function.split(".")] if colon else []
        if not self.in_process and not (parts and all(part.isidentifier() for part in parts)):
            raise ValueError(
                f"factory is {self.factory!r}, expected package.module:function, for example"
                " torchvision.models:resnet18"
            )
        return self

    @model_validator(mode="after")
    def _paths_have_names(self) -> Self:
        labels = [path.label for path in self.trajectories]
        if len(labels) > 1 and (len(set(labels)) < len(labels) or not all(labels)):
            raise ValueError(
                f"trajectories have the labels {labels}, expected a label of its own for each of them, such"
                " as sgd and adam"
            )
        return self

    @property
    def in_process(self) -> bool:
        """Whether the network was handed over in Python, so that no other process can make it."""
        return self.factory.startswith(IN_PROCESS)


Model = Annotated[
    Linear
    | Mlp
    | Vgg
    | ResNet
    | PreactivationResNet
    | WideResNet
    | DenseNet
    | MixtureOfExperts
    | MultiModel
    | Imported,
    Field(discriminator="architecture"),
]
