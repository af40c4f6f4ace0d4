"""From what is typed, the name of a recipe or a file, to the experiment."""

from collections.abc import Sequence
from pathlib import Path

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.parse import override, parse_yaml
from lossmap.components.core.errors import ExperimentError
from lossmap.pipelines.recipes.registry import load


def resolve(target: str, assignments: Sequence[str]) -> Experiment:
    """The experiment of a recipe or a YAML file, with some fields changed."""
    if not target.endswith((".yaml", ".yml")):
        return override(load(target), assignments)
    return override(parse_yaml(read_file(target), target), assignments)


def read_file(path: str) -> str:
    """The text of a YAML file.

    Raises:
        ExperimentError: there is none, or it cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ExperimentError(f"{path} cannot be read: {reason}") from None
