"""How a network is trained."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lossmap.components.core.frozen import Frozen


class Optimizer(Frozen):
    """Stochastic gradient descent or Adam, as in torch.optim."""

    algorithm: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: PositiveFloat = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = Field(0.0, description="on every parameter, as in He et al.")

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov is true and momentum is 0, expected a momentum above 0")
        return self


class Schedule(Frozen):
    """The factor on the learning rate, as a function of the epoch (fractional: it moves at every step)."""

    shape: Literal["constant", "step", "cosine"] = "cosine"
    warmup_epochs: NonNegativeFloat = Field(0.0, description="the rate rises linearly over these epochs")
    milestones: tuple[PositiveFloat, ...] = Field(
        (), description="epochs at which a step schedule multiplies the rate by decay"
    )
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.1

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
        0, description="pad by this many zero pixels, then crop back at a random place"
    )
    flip: bool = Field(False, description="mirror left and right with probability one half")


class Training(Frozen):
    """How the network is trained, by how many processes."""

    epochs: PositiveInt = 10
    batch_size: PositiveInt = Field(128, description="images in a global batch, over all processes together")
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    augmentation: Augmentation = Augmentation()
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    gradient_clip: PositiveFloat | None = Field(
        None, description="largest Euclidean norm of the whole gradient"
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="of the forward and backward pass; weights stay float32"
    )
    channels_last: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    processes: PositiveInt = Field(
        2, description="data-parallel processes, each with the same share of every batch"
    )
    threads: PositiveInt = Field(
        1, description="CPU threads of each process; the number is part of the result's last bits"
    )
    checkpoint_seconds: NonNegativeFloat = Field(
        60.0, description="least time between two checkpoints; 0 saves after every step"
    )
    trajectory_every: PositiveInt = Field(1, description="epochs between two stored snapshots of the weights")
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _batch_is_divisible(self) -> Self:
        if self.batch_size % self.processes:
            raise ValueError(
                f"batch_size is {self.batch_size}, expected a multiple of processes ({self.processes})"
            )
        return self
