"""Recipes: functions that return a whole experiment. A variant calls another and changes what differs."""

import difflib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path

from lossmap.components.config.data import Data
from lossmap.components.config.errors import ExperimentError
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Adaptive, Curvature, Landscape
from lossmap.components.config.models import Linear, Mlp, ResNet
from lossmap.components.config.parse import override, parse_yaml
from lossmap.components.config.training import Augmentation, Optimizer, Schedule, Training

Recipe = Callable[[], Experiment]
_RECIPES: dict[str, Recipe] = {}
_SURVEY = Landscape(pairs=3, adaptive=Adaptive(), curvature=Curvature())


def recipe(function: Recipe) -> Recipe:
    """List a function as a recipe under its own name, with dashes."""
    _RECIPES[function.__name__.replace("_", "-")] = function
    return function


def names() -> list[str]:
    """Names of all recipes."""
    return list(_RECIPES)


def describe(name: str) -> str:
    """The first line of a recipe's docstring."""
    return (inspect.getdoc(_RECIPES[name]) or "").splitlines()[0]


def load(name: str) -> Experiment:
    """The experiment of a recipe, under the recipe's name."""
    if name not in _RECIPES:
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]}?" if near else "`lossmap recipes` lists them"
        raise ExperimentError(f"there is no recipe {name}; {hint}")
    return _RECIPES[name]().model_copy(update={"name": name})


def resolve(target: str, assignments: Sequence[str]) -> Experiment:
    """The experiment of a recipe or a YAML file, with some fields changed."""
    if not target.endswith((".yaml", ".yml")):
        return override(load(target), assignments)
    try:
        text = Path(target).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentError(f"{target} cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}") from None
    return override(parse_yaml(text, target), assignments)


@recipe
def digits_linear() -> Experiment:
    """Softmax regression on the 8x8 digits: a convex loss, to compare the others with."""
    return Experiment(
        study="digits",
        data=Data(source="digits"),
        model=Linear(),
        training=Training(epochs=30, batch_size=128, optimizer=Optimizer(learning_rate=0.1, momentum=0.9, weight_decay=1e-4)),
        landscape=_SURVEY,
    )


@recipe
def digits_mlp() -> Experiment:
    """A perceptron with two hidden layers on the digits."""
    return digits_linear().model_copy(update={"model": Mlp()})


@recipe
def digits_resnet20() -> Experiment:
    """ResNet-20 with its shortcuts on the digits."""
    return digits_linear().model_copy(
        update={
            "model": ResNet(depth=20),
            "training": Training(
                epochs=12,
                batch_size=64,
                optimizer=Optimizer(learning_rate=0.1, nesterov=True, weight_decay=5e-4),
                schedule=Schedule(warmup_epochs=1),
            ),
        }
    )


@recipe
def digits_resnet20_noshort() -> Experiment:
    """ResNet-20 without shortcuts on the digits."""
    return digits_resnet20().model_copy(update={"model": ResNet(depth=20, shortcuts=False)})


@recipe
def digits_resnet56() -> Experiment:
    """ResNet-56 with its shortcuts on the digits."""
    return digits_resnet20().model_copy(update={"model": ResNet(depth=56)})


@recipe
def digits_resnet56_noshort() -> Experiment:
    """ResNet-56 without shortcuts on the digits."""
    return digits_resnet20().model_copy(update={"model": ResNet(depth=56, shortcuts=False)})


@recipe
def cifar10_linear() -> Experiment:
    """Softmax regression on CIFAR-10."""
    return cifar10_resnet20().model_copy(
        update={"model": Linear(), "training": Training(epochs=20, optimizer=Optimizer(learning_rate=0.01, weight_decay=1e-4), trajectory_every=5)}
    )


@recipe
def cifar10_resnet20() -> Experiment:
    """ResNet-20 on CIFAR-10 with the schedule of He et al. 2016: 164 epochs, rate 0.1 divided by ten at 82 and 123."""
    return Experiment(
        study="cifar10",
        data=Data(source="cifar10"),
        model=ResNet(depth=20),
        training=Training(
            epochs=164,
            batch_size=128,
            optimizer=Optimizer(learning_rate=0.1, momentum=0.9, weight_decay=1e-4),
            schedule=Schedule(shape="step", milestones=(82, 123)),
            augmentation=Augmentation(crop_padding=4, flip=True),
            channels_last=True,
            trajectory_every=4,
        ),
        landscape=_SURVEY.model_copy(update={"samples": 1000}),
    )


@recipe
def cifar10_resnet20_noshort() -> Experiment:
    """ResNet-20 without shortcuts on CIFAR-10."""
    return cifar10_resnet20().model_copy(update={"model": ResNet(depth=20, shortcuts=False)})


@recipe
def cifar10_resnet56() -> Experiment:
    """ResNet-56 on CIFAR-10, the smooth half of the famous pair of Li et al. 2018."""
    return cifar10_resnet20().model_copy(update={"model": ResNet(depth=56)})


@recipe
def cifar10_resnet56_noshort() -> Experiment:
    """ResNet-56 without shortcuts on CIFAR-10, the half that is said to be chaotic."""
    return cifar10_resnet20().model_copy(update={"model": ResNet(depth=56, shortcuts=False)})


@recipe
def cifar10_resnet110() -> Experiment:
    """ResNet-110 on CIFAR-10; one warm-up epoch, as He et al. needed one."""
    base = cifar10_resnet20()
    schedule = base.trained.schedule.model_copy(update={"warmup_epochs": 1.0})
    return base.model_copy(update={"model": ResNet(depth=110), "training": base.trained.model_copy(update={"schedule": schedule})})


@recipe
def cifar100_resnet20() -> Experiment:
    """ResNet-20 on CIFAR-100."""
    return cifar10_resnet20().model_copy(update={"study": "cifar100", "data": Data(source="cifar100")})


@recipe
def fashion_mnist_resnet20() -> Experiment:
    """ResNet-20 on Fashion-MNIST."""
    return cifar10_resnet20().model_copy(update={"study": "fashion-mnist", "data": Data(source="fashion-mnist")})


@recipe
def blobs_mlp() -> Experiment:
    """A small perceptron on four synthetic classes: a complete run in seconds, to see whether an installation works."""
    return Experiment(
        study="blobs",
        data=Data(source="blobs"),
        model=Mlp(hidden=(32,)),
        training=Training(epochs=5, batch_size=64),
        landscape=Landscape(samples=200),
    )
