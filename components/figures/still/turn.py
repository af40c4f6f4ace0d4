"""A still that turns once around, as a GIF."""

import io
from dataclasses import replace

from PIL import Image

from lossmap.components.figures.pictures import house_style
from lossmap.components.figures.still.figure import Still
from lossmap.components.figures.still.relief import FRONT, View

_FRAMES = 48
_MILLISECONDS = 90  # for each frame
_PIXELS = 960  # across
_FACETS = 100  # along the longer side of a sheet
_COLOURS = 255


def turn(still: Still, frames: int = _FRAMES, facets: int = _FACETS) -> bytes:
    """The picture from azimuths all around, beginning with its own. All frames have one layout and one set of
    colours.

    Args:
        still: the picture.
        frames: how many there are.
        facets: along the longer side of a sheet, about.
    """
    dots = round(_PIXELS / still.size.width)
    coarse = replace(still, facets=facets)
    with house_style():
        drawn = [_frame(coarse, 360 * index / frames, dots) for index in range(frames)]
    colours = drawn[0].quantize(_COLOURS, method=Image.Quantize.MEDIANCUT)
    first, *others = (frame.quantize(palette=colours, dither=Image.Dither.NONE) for frame in drawn)
    buffer = io.BytesIO()
    first.save(
        buffer,
        format="gif",
        save_all=True,
        append_images=others,
        duration=_MILLISECONDS,
        loop=0,
        comment=still.caption.encode()[:255],
    )
    return buffer.getvalue()


def _frame(still: Still, degrees: float, dots: int) -> Image.Image:
    view = View(FRONT.azimuth + degrees, FRONT.elevation)
    return Still.pixels(still.figure(view, turning=True), dots)
