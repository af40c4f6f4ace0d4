"""Stills of finished runs, or of surfaces that were written to files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lossmap.components.config.pictures import Pictures
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import ExperimentError, LossmapError
from lossmap.pipelines import local
from lossmap.pipelines.export import write_file

if TYPE_CHECKING:
    from lossmap.components.figures.export.stored import StoredSurface
    from lossmap.components.figures.still.figure import Still

_STORED = ".npz"


def still(
    names: Sequence[str], settings: Settings, style: str, size: str | None, pictures: Pictures | None
) -> "Still":
    """A still of several networks, side by side.

    Args:
        names: of finished runs, or of .npz files that `lossmap export` wrote.
        settings: where the runs are.
        style: paper, slides or dark.
        size: as it is typed; without it that of the style.
        pictures: how the loss is drawn.
    """
    from lossmap.components.figures.still.figure import Still
    from lossmap.components.figures.still.style import Size, size_of, style_of

    chosen = style_of(style)
    usual = Size(chosen.wide if len(names) > 1 else chosen.single)
    asked = size_of(size, chosen) if size else usual
    return Still([_drawn(name, settings) for name in names], chosen, asked, pictures)


def write_still(picture: "Still", output: Path) -> None:
    """Write it in the form that the file's ending names: .png, .svg or .pdf."""
    from lossmap.components.figures.still.figure import FORMATS

    for form in FORMATS:
        if output.suffix.lower() == f".{form}":
            write_file(output, picture.file(form))
            return
    raise ExperimentError(f"--output is {output}, expected a file that ends in .{', .'.join(FORMATS)}")


def write_turn(picture: "Still", output: Path) -> None:
    """Write it turning once around, as a GIF."""
    from lossmap.components.figures.still.turn import turn

    check_turn(output)
    write_file(output, turn(picture))


def check_turn(output: Path) -> None:
    """Refuse what is no GIF, before anything is drawn."""
    if output.suffix.lower() != ".gif":
        raise ExperimentError(
            f"--turn is {output}, expected a file that ends in .gif; other programs make films of it, such as"
            " ffmpeg -i FILE.gif FILE.mp4"
        )


def _drawn(name: str, settings: Settings) -> "StoredSurface":
    from lossmap.components.figures.export import stored

    if not name.endswith(_STORED):
        run = local.open_run(name, settings)
        run.check_finished()
        return stored.of_run(run)
    try:
        content = Path(name).read_bytes()
    except OSError as error:
        raise LossmapError(f"{name} cannot be read: {error.strerror}") from None
    return stored.of_file(content, name)
