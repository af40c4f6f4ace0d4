"""Runs with surfaces that are written down as formulas, for tests of pictures and pages."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from lossmap.components.config.data import Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Axis, Landscape, Plane
from lossmap.components.config.manifest import Manifest, Shard
from lossmap.components.config.models import Model, ResNet
from lossmap.components.config.training import Training
from lossmap.components.figures.run.summary import RunSummary
from lossmap.components.landscape.grid import Surface
from lossmap.components.stores.survey_plan import Position, Trail
from lossmap.components.surveys.result import Snapshot, SurveyResult
from reference.landscape import surface as surface_of

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
Formula = Callable[[np.ndarray, np.ndarray], np.ndarray]


def bowl(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A smooth minimum of 0.012, about 5 at the corners."""
    return 0.012 + 2.2 * (x**2 + 1.3 * y**2 + 0.2 * x * y) ** 1.1


def rugged(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Ridges and side valleys, up to 1e4 far out."""
    waves = 1.3 * np.sin(5 * x + 1) * np.cos(4 * y) + 0.8 * np.sin(9 * x * y + 2 * x)
    radius = np.hypot(x, y)
    return (
        0.03
        + np.expm1(3.2 * radius + waves * np.minimum(radius * 2, 1) * 0.8) * 0.4 * radius
        + 8 * np.maximum(radius - 0.9, 0) ** 3 * 300
    )


def evaluate(formula: Formula, x: np.ndarray, y: np.ndarray) -> Surface:
    """The formula on a grid, row by row."""
    loss = np.array([[float(formula(np.float64(a), np.float64(b))) for a in x] for b in y])
    error = np.clip(0.9 * (1 - np.exp(-loss)), 0, 1)
    return surface_of(x, y, loss, error=error)


def with_values(surface: Surface, values: Mapping[tuple[int, int], float | None]) -> Surface:
    """The surface with other losses at (row, column); None makes the point missing."""
    loss, evaluated = surface.loss.copy(), surface.evaluated.copy()
    for place, value in values.items():
        loss[place] = np.nan if value is None else value
        evaluated[place] = value is not None
    return surface_of(surface.x, surface.y, loss, evaluated, surface.error)


def epochs(count: int, error: float = 0.08) -> tuple[dict[str, float], ...]:
    """Curves that fall as those of a network do."""
    return tuple(
        {
            "epoch": n,
            "train_loss": 2.3 * np.exp(-n / (0.22 * count)) + 0.01,
            "train_error": 0.9 * np.exp(-n / (0.2 * count)),
            "test_loss": 2.3 * np.exp(-n / (0.25 * count)) + 0.25,
            "test_error": (0.9 - error) * np.exp(-n / (0.2 * count)) + error,
            "learning_rate": 0.05 * (1 + np.cos(np.pi * n / count)),
            "gradient_norm": 1.0,
            "images_per_second": 812.0,
            "seconds": 61.0,
        }
        for n in range(1, count + 1)
    )


def summary(
    run: str = "cifar-resnet-56-a1b2c3",
    plane: Surface | None = None,
    line: Surface | None = None,
    model: Model | None = None,
    source: str = "cifar10",
) -> RunSummary:
    """A whole run around a plane; the bowl on 41 × 41 points without one."""
    model = model or ResNet(depth=56)
    side = np.linspace(-1, 1, 41)
    experiment = Experiment(
        name="cifar",
        data=Data(source=source),
        model=model,
        training=Training(epochs=30),
        landscape=Landscape(plane=Plane(x=Axis(), y=Axis()), samples=512),
    )
    return RunSummary(
        run=run,
        experiment=experiment,
        manifest=manifest(source),
        epochs=epochs(30),
        scalars={
            "test_error": 0.0832,
            "train_loss": 0.0121,
            "parameters": 853018,
            "centre_loss": None,
            "ceiling": float("inf"),
            "basin_fraction": 0.41,
        },
        result=SurveyResult(
            planes=(evaluate(bowl, side, side) if plane is None else plane,),
            lines=() if line is None else (line,),
        ),
    )


def with_paths(run: RunSummary, *paths: tuple[str, tuple[str, ...]]) -> RunSummary:
    """A run with paths on its plane, each a label and the names of its checkpoints; none: after epochs."""
    trails, snapshots = [], []
    for number, (label, names) in enumerate(paths):
        trails.append(Trail(training="a" * 64, number=number, label=label, checkpoints=names))
        for epoch in range(1, 5):
            x, y, off = 0.2 * epoch - 1, 0.3 * number, 0.1 * epoch
            position = Position(
                epoch=epoch, x=x, y=y, distance=off, length=(x**2 + y**2 + off**2) ** 0.5, trail=number
            )
            snapshots.append(
                Snapshot(position, loss=1.0 / epoch + number, plane_loss=0.9 / epoch + 1.01 * number)
            )
    result = replace(run.result, trajectory=tuple(snapshots), trails=tuple(trails), explained=(0.75, 0.2))
    return replace(run, result=result)


def manifest(source: str) -> Manifest:
    """Ten classes of colour images."""
    train, test = (
        Shard(key=name, sha256="0" * 64, count=count) for name, count in (("train", 50000), ("test", 10000))
    )
    return Manifest(
        digest="d" * 64,
        source=source,
        classes=CLASSES,
        shape=(3, 32, 32),
        mean=(0.5, 0.5, 0.5),
        deviation=(0.2, 0.2, 0.2),
        train=(train,),
        test=(test,),
    )
