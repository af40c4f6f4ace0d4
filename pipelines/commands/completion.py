"""What a shell completes: names of recipes, of runs in a folder, and of measures. Nothing heavy is imported,
and no network is asked.
"""

import os
from pathlib import Path
from urllib.parse import unquote

import typer


def recipe_names(incomplete: str) -> list[str]:
    """Recipes, and files of experiments."""
    from lossmap.pipelines.recipes.registry import names

    return [name for name in names() if name.startswith(incomplete)] + _files(incomplete, "*.yaml")


def run_names(context: typer.Context, incomplete: str) -> list[str]:
    """The runs of a store in a folder, the newest first; those in S3 are not asked for."""
    runs = _folder(context) / "runs"
    if not runs.is_dir():
        return []
    with os.scandir(runs) as found:
        named = [entry for entry in found if entry.name.startswith(incomplete)]
    begun = [entry for entry in named if os.path.exists(os.path.join(entry.path, "experiment.json"))]
    begun.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
    return [entry.name for entry in begun]


def drawn_names(context: typer.Context, incomplete: str) -> list[str]:
    """Runs, and files of surfaces."""
    return run_names(context, incomplete) + _files(incomplete, "*.npz")


def measure_names(incomplete: str) -> list[str]:
    """What `lossmap explain` explains."""
    from lossmap.components.config.definitions import DEFINITIONS

    return [name for name in DEFINITIONS if name.startswith(incomplete)]


def _folder(context: typer.Context) -> Path:
    store = str(context.params.get("store") or os.environ.get("LOSSMAP_STORE") or "lossmap-runs")
    return Path(unquote(store.removeprefix("file://"))).expanduser()


def _files(incomplete: str, pattern: str) -> list[str]:
    """Files in the folder that is being typed."""
    folder, _, start = incomplete.rpartition("/")
    place = f"{folder}/" if "/" in incomplete else ""
    return sorted(f"{place}{path.name}" for path in Path(place or ".").glob(f"{start}{pattern}"))
