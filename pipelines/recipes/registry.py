"""The list of recipes: functions that return a whole experiment. Those of one scale stand under one
heading.
"""

import difflib
import inspect
from collections.abc import Callable

from lossmap.components.config.experiment import Experiment
from lossmap.components.core.errors import ExperimentError

Recipe = Callable[[], Experiment]

DIGITS = "digits, 8x8 pixels: seconds of training on two cores"
CIFAR10_ON_CPUS = (
    "CIFAR-10 on CPUs: minutes, with one budget for all networks (10,000 images, 10 epochs), which is no"
    " paper's"
)
CIFAR10_ON_GPUS = (
    "CIFAR-10 on GPUs: the papers' schedules (to survey on GPUs, too: --set landscape.device=cuda)"
)
OTHERS = "other data"
_LISTED: dict[str, dict[str, Recipe]] = {
    heading: {} for heading in (DIGITS, CIFAR10_ON_CPUS, CIFAR10_ON_GPUS, OTHERS)
}


def under(heading: str) -> Callable[[Recipe], Recipe]:
    """The decorator that lists a function as a recipe under one of the headings, by its own name with
    dashes.
    """
    listed = _LISTED[heading]

    def recipe(function: Recipe) -> Recipe:
        listed[function.__name__.replace("_", "-")] = function
        return function

    return recipe


def groups() -> dict[str, list[str]]:
    """Names of the recipes by heading."""
    return {heading: list(listed) for heading, listed in _LISTED.items()}


def names() -> list[str]:
    """Names of all recipes."""
    return list(_recipes())


def describe(name: str) -> str:
    """The first paragraph of a recipe's docstring, in one line."""
    paragraph = (inspect.getdoc(_recipes()[name]) or "").partition("\n\n")[0]
    return " ".join(paragraph.split())


def load(name: str) -> Experiment:
    """The experiment of a recipe, under the recipe's name.

    Raises:
        ExperimentError: there is no such recipe.
    """
    if name not in _recipes():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]}?" if near else "`lossmap recipes` lists them"
        raise ExperimentError(f"there is no recipe {name}; {hint}")
    return _recipes()[name]().model_copy(update={"name": name})


def _recipes() -> dict[str, Recipe]:
    return {name: function for listed in _LISTED.values() for name, function in listed.items()}
