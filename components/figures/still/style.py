"""How a still looks: its colours, its letters, its size."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lossmap.components.core.errors import ExperimentError

_INCHES = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4}
_NUMBER = r"(\d+(?:\.\d+)?)"
_SIZE = re.compile(rf"{_NUMBER}(?:x{_NUMBER})?(in|cm|mm|px)?")
_LEAST, _GREATEST = 2.0, 60.0  # inches


@dataclass(frozen=True)
class Style:
    """Colours, letters and size of a still.

    Attributes:
        paper: colour of the background.
        ink: of letters.
        faint: of captions, axes and the lines around the floor.
        floor: of the floor.
        letters: size of the names of networks, in points.
        small: of ticks, axes and caption.
        line: width of a line of equal loss, in points.
        single: inches across with one network.
        wide: with several.
        dots: of a PNG file, in an inch.
        brief: whether the caption in the picture says only what is needed to read it from afar; the whole is
            in the file's description.
    """

    paper: str
    ink: str
    faint: str
    floor: str
    letters: float
    small: float
    line: float
    single: float
    wide: float
    dots: int
    brief: bool


STYLES: Mapping[str, Style] = {
    "paper": Style("#ffffff", "#111111", "#5f5f5f", "#f3f3f1", 8, 6.0, 0.55, 3.5, 7.0, 300, False),
    "slides": Style("#ffffff", "#111111", "#5f5f5f", "#f3f3f1", 20, 12, 1.1, 10.0, 13.333, 144, True),
    "dark": Style("#12141a", "#f4f4f4", "#a5a9b2", "#1b1e26", 20, 12, 1.1, 10.0, 13.333, 144, True),
}


@dataclass(frozen=True)
class Size:
    """Of a picture, in inches.

    Attributes:
        width: across.
        height: upright; None where it follows from what is drawn.
    """

    width: float
    height: float | None = None


def style_of(name: str) -> Style:
    """The style of a name.

    Raises:
        ExperimentError: there is none of that name.
    """
    if name not in STYLES:
        raise ExperimentError(f"--style is {name}, expected one of {', '.join(STYLES)}")
    return STYLES[name]


def size_of(text: str, style: Style) -> Size:
    """A size as it is typed: 7, 17.8cm, 7x4in or 1920x1080px; inches where no unit is named, and pixels as
    the style has them in an inch.

    Raises:
        ExperimentError: it is none, or is too small or too large to draw.
    """
    found = _SIZE.fullmatch(text.strip().lower())
    if not found:
        raise ExperimentError(
            f"--size is {text}, expected a width or WIDTHxHEIGHT in in, cm, mm or px, such as 17.8cm or 7x4in"
        )
    unit = found[3] or "in"
    inches = {**_INCHES, "px": 1 / style.dots}[unit]
    lengths = [float(length) * inches for length in (found[1], found[2]) if length]
    if min(lengths) < _LEAST or max(lengths) > _GREATEST:
        raise ExperimentError(
            f"--size is {text}, which is {' x '.join(f'{length:.3g}' for length in lengths)} inches, expected"
            f" {_LEAST:g} to {_GREATEST:g}"
        )
    return Size(*lengths)
