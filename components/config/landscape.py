"""The survey of a loss surface: directions, grids, and what is measured on them."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from lossmap.components.core.frozen import Frozen

_FARTHEST, _NEAREST = 1e30, 1e-30  # between them squares are numbers, in float64


class Axis(Frozen):
    """Evenly spaced coordinates along one direction, both ends included."""

    low: float = Field(-1.0, ge=-_FARTHEST, description="first coordinate, in lengths of the direction")
    high: float = Field(1.0, le=_FARTHEST, description="last coordinate, in lengths of the direction")
    points: Annotated[int, Field(ge=2)] = Field(41, description="number of points, both ends included")

    @model_validator(mode="after")
    def _low_is_below_high(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low is {self.low} and high is {self.high}, expected low < high")
        if self.high - self.low < _NEAREST * self.points:
            raise ValueError(
                f"{self.points} points from {self.low} to {self.high} are less than {_NEAREST} apart"
            )
        return self


class Plane(Frozen):
    """A grid over two directions."""

    x: Axis = Field(Axis(), description="coordinates along the first direction")
    y: Axis = Field(Axis(), description="coordinates along the second direction")


Normalization = Literal["filter", "layer", "model", "element", "neuron", "none"]


class Adaptive(Frozen):
    """Evaluate few points of the plane, and more of them where the surface cannot be interpolated well."""

    tolerance: PositiveFloat = Field(
        0.01,
        description="largest error of the interpolation, as a share of the range of what is interpolated",
    )
    scale: Literal["log", "linear"] = Field(
        "log",
        description="what is interpolated: the loss or its natural logarithm",
    )
    spacing: Annotated[int, Field(ge=2)] = Field(
        8,
        description="grid steps between the points that are evaluated first",
    )
    held_out: PositiveInt = Field(
        60,
        description="number of random points on which the interpolation is verified at the end",
    )


class Curvature(Frozen):
    """Second derivatives of the loss at the trained network, BatchNorm's statistics frozen."""

    samples: PositiveInt = Field(
        128,
        description="number of the survey's samples on which second derivatives are taken",
    )
    top: PositiveInt = Field(1, description="number of greatest eigenvalues of the Hessian")
    bottom: PositiveInt = Field(1, description="number of least eigenvalues of the Hessian")
    tolerance: PositiveFloat = Field(
        0.003,
        description="largest error of an eigenvalue, relative to the greatest in absolute value",
    )
    trace_products: PositiveInt = Field(
        10,
        description=(
            "Hessian-vector products spent on the trace, as a whole and by layer, besides those of the "
            "search for eigenvalues; 4 at least"
        ),
    )
    parameters: tuple[str, ...] = Field(
        (),
        description=(
            "names of parameters or layers, or patterns such as layer3.*, whose common block of the Hessian "
            "is measured, besides the whole; empty: none"
        ),
    )
    layers: bool = Field(False, description="measure each layer's block of the Hessian by itself, too")
    density_probes: NonNegativeInt = Field(
        0,
        description="random vectors from which the density of the eigenvalues is estimated; 0: no density",
    )
    density_steps: PositiveInt = Field(30, description="Lanczos steps for each random vector of the density")
    gauss_newton: bool = Field(
        False,
        description=(
            "measure the greatest eigenvalue and the trace of the Gauss-Newton, Fisher and empirical "
            "Fisher matrices, too"
        ),
    )
    sharpness_radii: tuple[PositiveFloat, ...] = Field(
        (),
        description=(
            "radii within which sharpness is measured, in the worst and in the average case; empty: none"
        ),
    )

    @field_validator("parameters", mode="before")
    @classmethod
    def _one_or_several_names(cls, value: Any) -> Any:
        """Layers of a Sequential are numbers, which YAML does not read as texts."""
        names = value if isinstance(value, list | tuple) else [value]
        return [str(name) if type(name) is int else name for name in names]


class Convexity(Frozen):
    """The least and the greatest eigenvalue of the Hessian at every point of a grid on the plane."""

    plane: Plane = Field(
        Plane(x=Axis(points=11), y=Axis(points=11)),
        description="grid of the points at which the Hessian's extreme eigenvalues are measured",
    )
    samples: PositiveInt = Field(
        128,
        description="number of the survey's samples on which second derivatives are taken",
    )
    tolerance: PositiveFloat = Field(
        0.05,
        description="largest error of an eigenvalue, relative to the greatest in absolute value",
    )


class Landscape(Frozen):
    """The survey: loss(w + x d1 + y d2) on a plane, and along a line of its first direction."""

    directions: Literal["random", "networks", "trajectory", "hessian", "gradient"] = Field(
        "random",
        description=(
            "what spans the plane: random directions; those to the networks of other runs; the two "
            "principal components of the trajectory; the Hessian's eigenvectors of its two greatest "
            "eigenvalues; the gradient and a random direction"
        ),
    )
    networks: Annotated[tuple[str, ...], Field(max_length=2)] = Field(
        (),
        description="one or two runs whose networks lie at (1, 0) and (0, 1), with directions networks",
    )
    paths: tuple[str, ...] = Field(
        (),
        description=(
            "runs whose paths of training lie on the plane, too; with directions trajectory it is made of "
            "all paths together"
        ),
    )
    pairs: PositiveInt = Field(
        1,
        description=(
            "number of pairs of random directions; the first is drawn, all together tell how much a "
            "measure depends on the pair"
        ),
    )
    normalization: Normalization = Field(
        "filter",
        description=(
            "how the directions get the scale of the weights; model where they are eigenvectors or "
            "the gradient, none where they lead to networks or along the trajectory"
        ),
    )
    ignore_bias_and_norm: bool = Field(
        True,
        description="leave biases and BatchNorm parameters where they are, as in Li et al. 2018",
    )
    plane: Plane = Field(Plane(), description="grid of the plane's points")
    adaptive: Adaptive | None = Field(
        None,
        description="evaluate only as many of the plane's points as interpolation needs; null: all of them",
    )
    line: Axis | None = Field(
        Axis(points=101),
        description="points of a line along the first direction, surveyed more finely; null: no line",
    )
    split: Literal["train", "test"] = Field(
        "train",
        description="whether training or test samples are evaluated",
    )
    task: str | None = Field(
        None,
        description="the one of data.tasks whose samples are surveyed; null: those of all tasks together",
    )
    samples: PositiveInt = Field(
        512,
        description="number of samples on which every point is evaluated, the same for all points",
    )
    batch_norm: Literal["frozen", "reestimated", "coordinates"] = Field(
        "frozen",
        description=(
            "BatchNorm's statistics at a point: the trained network's (frozen), estimated from the "
            "samples there (reestimated), or moved along with the weights (coordinates)"
        ),
    )
    curvature: Curvature | None = Field(
        None,
        description="second derivatives of the loss at the trained network; null: none",
    )
    convexity: Convexity | None = Field(
        None,
        description="the Hessian's extreme eigenvalues on a grid of the plane; null: none",
    )
    basin_thresholds: tuple[float, ...] = Field(
        (),
        description="losses below which the area of the basin is measured, besides that of guessing",
    )
    batch_size: PositiveInt = Field(
        64,
        description="samples that go through the network at a time; small batches stay in a CPU's cache",
    )
    device: Literal["cpu", "cuda"] = Field(
        "cpu",
        description="what evaluates the points; part of the result's last bits",
    )
    tile_points: PositiveInt = Field(
        48,
        description="points in one tile, the unit of parallel work and of resuming",
    )
    workers: PositiveInt | None = Field(
        None,
        description=(
            "processes that evaluate tiles on a machine or in a pod, which never change a result; "
            "null: one for each core"
        ),
    )
    seed: NonNegativeInt = Field(0, description="which directions and which samples are drawn")

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_normalization(cls, values: Any) -> Any:
        return (
            {**scaling(values.get("directions", "random")), **values} if isinstance(values, dict) else values
        )

    @model_validator(mode="after")
    def _directions_are_possible(self) -> Self:
        if (self.directions == "networks") != bool(self.networks):
            raise ValueError(
                f"directions is {self.directions} and networks are {list(self.networks)}, expected one or two"
                " runs with networks and none otherwise"
            )
        if self.directions in _BETWEEN and (self.normalization != "none" or self.ignore_bias_and_norm):
            raise ValueError(
                f"directions is {self.directions} and normalization is {self.normalization}, expected"
                " normalization none and ignore_bias_and_norm false"
            )
        if self.batch_norm == "coordinates" and self.directions not in _BETWEEN:
            raise ValueError(
                f"batch_norm is coordinates and directions is {self.directions}, expected networks or"
                " trajectory: only there have points statistics"
            )
        if self.pairs > 1 and self.directions != "random":
            raise ValueError(
                f"pairs is {self.pairs} and directions is {self.directions}, expected random directions, or"
                " one pair"
            )
        return self

    @property
    def follows_the_loss(self) -> bool:
        """Whether the directions are computed from the loss, on the device that evaluates the points."""
        return self.directions in ("hessian", "gradient")


def scaling(directions: Any) -> dict[str, Any]:
    """How directions of a kind are scaled, and how many pairs of them there are, where nothing else is
    asked for.
    """
    if directions == "random":
        return {"normalization": "filter", "ignore_bias_and_norm": True}
    return {
        "normalization": "none" if directions in _BETWEEN else "model",
        "ignore_bias_and_norm": False,
        "pairs": 1,
    }


_BETWEEN = ("networks", "trajectory")
