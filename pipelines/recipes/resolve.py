"""Recipes: functions that return a whole experiment. A variant calls another and changes what differs.

They stand in a module for each scale: digits in seconds, CIFAR-10 on CPUs in minutes, CIFAR-10 at the papers'
schedules.
"""

from collections.abc import Sequence
from pathlib import Path

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.parse import override, parse_yaml
from lossmap.components.core.errors import ExperimentError
from lossmap.pipelines.recipes import cifar10_cpu as recipes_cifar10
from lossmap.pipelines.recipes import cifar10_gpu as recipes_gpu
from lossmap.pipelines.recipes import digits as recipes_digits
from lossmap.pipelines.recipes import others as recipes_others
from lossmap.pipelines.recipes.registry import describe, groups, load, names

__all__ = [
    "describe",
    "groups",
    "load",
    "names",
    "recipes_cifar10",
    "recipes_digits",
    "recipes_gpu",
    "recipes_others",
    "resolve",
]


def resolve(target: str, assignments: Sequence[str]) -> Experiment:
    """The experiment of a recipe or a YAML file, with some fields changed."""
    if not target.endswith((".yaml", ".yml")):
        return override(load(target), assignments)
    try:
        text = Path(target).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentError(
            f"{target} cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}"
        ) from None
    return override(parse_yaml(text, target), assignments)
