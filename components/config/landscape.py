"""The survey of a loss surface: directions, grids, and what is measured on them."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lossmap.components.core.frozen import Frozen


class Axis(Frozen):
    """Evenly spaced coordinates along one direction, both ends included."""

    low: float = -1.0
    high: float = 1.0
    points: Annotated[int, Field(ge=2)] = 41

    @model_validator(mode="after")
    def _low_is_below_high(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low is {self.low} and high is {self.high}, expected low < high")
        return self


class Plane(Frozen):
    """A grid over two directions."""

    x: Axis = Axis()
    y: Axis = Axis()


Normalization = Literal["filter", "layer", "model", "element", "neuron", "none"]


class Adaptive(Frozen):
    """Evaluate few points of the plane, and more of them where the surface cannot be interpolated well."""

    tolerance: PositiveFloat = Field(
        0.01, description="largest error of interpolation, as a share of the range of the losses on the plane"
    )
    scale: Literal["log", "linear"] = Field(
        "log",
        description=(
            "what is interpolated, and whose range the tolerance is a share of: the loss or its logarithm"
        ),
    )
    spacing: Annotated[int, Field(ge=2)] = Field(8, description="grid steps between the first points")
    held_out: PositiveInt = Field(
        60, description="points drawn at random at the end, on which the bound is verified"
    )


class Curvature(Frozen):
    """Second derivatives of the loss at the trained network, BatchNorm's statistics frozen."""

    samples: PositiveInt = Field(128, description="of the survey's samples, on which curvature is measured")
    top: PositiveInt = Field(1, description="greatest eigenvalues of the Hessian")
    bottom: PositiveInt = Field(1, description="least eigenvalues of the Hessian")
    tolerance: PositiveFloat = Field(
        0.01, description="of an eigenvalue, relative to the greatest in absolute value"
    )
    trace_products: PositiveInt = Field(
        30, description="Hessian-vector products for the trace, of the whole and by layer; 4 at least"
    )
    density_probes: NonNegativeInt = Field(
        0, description="random vectors for the spectral density; 0: no density"
    )
    density_steps: PositiveInt = Field(30, description="Lanczos steps for each of them")
    gauss_newton: bool = Field(
        False,
        description=(
            "the greatest eigenvalue and the trace of the Gauss-Newton matrix and of the Fisher matrix, too"
        ),
    )
    sharpness_radii: tuple[PositiveFloat, ...] = Field(
        (), description="radii of the worst and average case sharpness; empty: none"
    )


class Convexity(Frozen):
    """The least and the greatest eigenvalue of the Hessian at every point of a grid on the plane."""

    plane: Plane = Plane(x=Axis(points=11), y=Axis(points=11))
    samples: PositiveInt = Field(128, description="of the survey's samples")
    tolerance: PositiveFloat = Field(
        0.05, description="of an eigenvalue, relative to the greatest in absolute value"
    )


class Landscape(Frozen):
    """The survey: loss(w + x d1 + y d2) on a plane, and along a line of its first direction."""

    directions: Literal["random", "networks", "trajectory", "hessian", "gradient"] = Field(
        "random",
        description=(
            "random; to the networks of other runs; the two principal components of the trajectory; the"
            " Hessian's eigenvectors of the two greatest eigenvalues; the gradient and a random direction"
        ),
    )
    networks: Annotated[tuple[str, ...], Field(max_length=2)] = Field(
        (), description="runs whose networks lie at (1, 0) and (0, 1), for directions=networks"
    )
    pairs: PositiveInt = Field(
        1,
        description=(
            "pairs of random directions; the first is drawn, and all together tell how much a measure depends"
            " on the pair"
        ),
    )
    normalization: Normalization = Field(
        "filter",
        description=(
            "of the directions; model where they are eigenvectors or the gradient, none where they lead to"
            " networks or along the trajectory"
        ),
    )
    ignore_bias_and_norm: bool = Field(
        True, description="leave biases and BatchNorm parameters where they are, as in Li et al. 2018"
    )
    plane: Plane = Plane()
    adaptive: Adaptive | None = Field(
        None, description="evaluate only as many of the plane's points as interpolation needs"
    )
    line: Axis | None = Axis(points=101)
    split: Literal["train", "test"] = "train"
    task: str | None = Field(
        None,
        description=(
            "survey the samples of this one of data.tasks, on the same plane; without it those of all tasks"
            " together"
        ),
    )
    samples: PositiveInt = Field(
        512, description="samples on which every point is evaluated, the same for all points"
    )
    batch_norm: Literal["frozen", "reestimated", "coordinates"] = Field(
        "frozen",
        description=(
            "the trained network's statistics, those of the samples at each point, or moved along with the"
            " weights"
        ),
    )
    curvature: Curvature | None = None
    convexity: Convexity | None = None
    basin_thresholds: tuple[PositiveFloat, ...] = Field(
        (), description="losses below which the area of the basin is measured, besides that of guessing"
    )
    batch_size: PositiveInt = Field(
        64, description="samples that go through the network at a time; small batches stay in a CPU's cache"
    )
    device: Literal["cpu", "cuda"] = Field(
        "cpu", description="what evaluates the points; part of the result's last bits"
    )
    tile_points: PositiveInt = Field(
        48, description="points in one tile, the unit of parallel work and of resuming"
    )
    workers: PositiveInt | None = Field(
        None, description="processes that evaluate tiles; every core without it; never changes a result"
    )
    seed: NonNegativeInt = 0

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
