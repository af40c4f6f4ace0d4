"""The networks, each by its own settings."""

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, NonNegativeInt, PositiveInt, model_validator

from lossmap.components.config.data import IN_PROCESS
from lossmap.components.config.frozen import Frozen


class Linear(Frozen):
    """Softmax regression: logits = W x + b. Its cross-entropy is convex in (W, b)."""

    architecture: Literal["linear"] = "linear"
    seed: NonNegativeInt = 0


class Mlp(Frozen):
    """A multi-layer perceptron with rectified linear units."""

    architecture: Literal["mlp"] = "mlp"
    hidden: tuple[PositiveInt, ...] = Field((128, 128), min_length=1)
    seed: NonNegativeInt = 0


class ResNet(Frozen):
    """The CIFAR residual network of He et al. 2016, with or without its shortcuts."""

    architecture: Literal["resnet"] = "resnet"
    depth: PositiveInt = Field(20, description="6n + 2 layers: 20, 32, 44, 56 or 110 in the paper")
    shortcuts: bool = True
    shortcut_option: Literal["A", "B"] = Field("A", description="where the shape changes: A pads with zeros, B projects by a 1x1 convolution")
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _depth_is_possible(self) -> Self:
        if self.depth < 8 or (self.depth - 2) % 6:
            raise ValueError(f"depth is {self.depth}, expected 6n + 2 with n >= 1, for example 20, 32, 44, 56 or 110")
        return self


class Imported(Frozen):
    """A network that lossmap did not train: what a function of the user's returns, with the weights of a file."""

    architecture: Literal["imported"] = "imported"
    factory: str = Field(
        IN_PROCESS,
        description="package.module:function, which returns the network, or its class; `in process` where the network itself was handed over in Python",
    )
    arguments: dict[str, JsonValue] = Field({}, description="keyword arguments of the factory")
    loss: str = Field("cross-entropy", min_length=1, description="cross-entropy, mse, or package.module:function of outputs and targets")
    weights: str | None = Field(None, description="path or s3:// URI of .safetensors, or of what torch.save writes; without it the factory's own weights")
    weights_sha256: str | None = Field(None, description="of the content of that file; noted when the run is made")
    source_sha256: str | None = Field(None, description="of the Python file in which the factory is; noted when the run is made")
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _factory_can_be_found(self) -> Self:
        module, colon, function = self.factory.partition(":")
        parts = [*module.split("."), *function.split(".")] if colon else []
        if not self.in_process and not (parts and all(part.isidentifier() for part in parts)):
            raise ValueError(f"factory is {self.factory!r}, expected package.module:function, for example torchvision.models:resnet18")
        return self

    @property
    def in_process(self) -> bool:
        """Whether the network was handed over in Python, so that no other process can make it."""
        return self.factory.startswith(IN_PROCESS)


Model = Annotated[Linear | Mlp | ResNet | Imported, Field(discriminator="architecture")]
