"""Stills as files: what is in them, and that they say how they were made."""

import io
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from reference.summaries import bowl, evaluate, rugged

from lossmap.components.config.pictures import Pictures
from lossmap.components.core.errors import ExperimentError, LossmapError
from lossmap.components.figures.export.stored import About, StoredSurface, of_file
from lossmap.components.figures.frame import frame
from lossmap.components.figures.still.figure import Still
from lossmap.components.figures.still.style import STYLES, Size, size_of, style_of
from lossmap.components.figures.still.turn import turn

SIDE = np.linspace(-1, 1, 9)
PAPER = replace(STYLES["paper"], dots=40)  # coarse: letters and numbers are the same
SMALL = {"style": PAPER, "size": Size(4.0), "facets": 10}


def stored(formula=bowl, title="ResNet-56 on cifar10", run="run", **changes):
    about = {
        "run": run,
        "title": title,
        "evaluation": "Mean cross-entropy of 512 training images.",
        "interpolation": "",
        "guessing_loss": 2.303,
        "guess": "ln 10 = 2.303",
        "networks": (),
        "paths": (),
        "marks": "",
        "pictures": Pictures(),
        "experiment": "e" * 64,
        "training": "t" * 64,
        "survey": "s" * 64,
    }
    return StoredSurface(evaluate(formula, SIDE, SIDE), About(**{**about, **changes}))


PAIR = (stored(), stored(rugged, title="ResNet-56 without shortcuts on cifar10"))


def test_a_png_has_300_dots_in_an_inch_and_says_how_it_was_made():
    still = Still(PAIR, STYLES["paper"], Size(4.0), facets=10)
    image = Image.open(io.BytesIO(still.file("png")))
    assert image.width == 1200
    assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    assert image.info["Description"] == still.caption
    assert image.info["Title"] == "ResNet-56 on cifar10; ResNet-56 without shortcuts on cifar10"


def test_letters_and_lines_of_an_svg_are_no_pixels():
    root = ET.fromstring(Still(PAIR, **SMALL).file("svg"))
    texts = {"".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"loss", "0.01", "100", "first direction"} <= texts
    assert any(text.startswith("ResNet-56 without") for text in texts)
    images = list(root.iter("{http://www.w3.org/2000/svg}image"))
    assert len(images) == 4  # two sheets, two strips of colours
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 40


def test_letters_of_a_pdf_are_letters():
    content = Still((stored(),), **SMALL).file("pdf")
    assert content.startswith(b"%PDF")
    assert b"/FontFile2" in content
    width = float(re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", content)[1])
    assert width == pytest.approx(4 * 72)


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_equal_surfaces_give_equal_bytes(form):
    assert Still(PAIR, **SMALL).file(form) == Still(PAIR, **SMALL).file(form)


def test_networks_share_the_scale_that_both_need_or_the_one_that_is_set():
    low, high = (stored(lambda x, y, shift=shift: shift + x + y) for shift in (10.0, 50.0))
    needed = Still((low, high), **SMALL).frame
    assert needed == frame([low.surface, high.surface])
    assert needed.scale.low <= 8 and needed.scale.high >= 52
    asked = Still((low, high), **SMALL, pictures=Pictures(scale="linear", limits=(5.0, 80.0)))
    assert (asked.frame.scale.low, asked.frame.scale.high) == (5, 80)
    heights = [relief.z for relief in asked.reliefs]
    np.testing.assert_allclose(heights[1] - heights[0], asked.box.height * 40 / 75)


def test_the_caption_says_scale_light_cuts_and_interpolation():
    interpolated = stored(rugged, interpolation="by cubic radial basis functions of the log loss, to 1 %")
    interpolated.surface.evaluated[1::2] = False
    interpolated.surface.interpolated[1::2] = True
    above = int((interpolated.surface.loss > 100).sum())
    lines = Still((PAIR[0], interpolated), **SMALL).caption.splitlines()
    assert above > 0
    assert lines == [
        "Mean cross-entropy of 512 training images. Logarithmic scale from 0.01 to 100, the same for all"
        " runs. Between points the sheet is bilinear on this scale, lit from the left, and cut off above it."
        " Lines of equal loss (1, 2 and 5 times powers of ten; thick: uniform guessing, ln 10 = 2.303) on the"
        " sheet and on the floor. Plus: the trained network; ring: the lowest point; dots: evaluated points.",
        "run: All 81 points were evaluated.",
        "run: 45 of 81 points were evaluated, the others interpolated by cubic radial basis functions of the"
        f" log loss, to 1 %; {above} above the scale.",
    ]


def test_what_has_no_loss_is_counted():
    drawn = stored()
    drawn.surface.loss[0, :2] = np.nan, np.inf
    drawn.surface.evaluated[1, 0] = False
    text = Still((drawn,), **SMALL).caption
    assert text.endswith(
        "All 81 points were evaluated; 2 without a finite loss, left out; 1 not evaluated, left out."
    )


def test_a_stored_surface_is_drawn_as_the_run_itself():
    paths = (("sgd", ((-0.5, 0.2), (0.0, 0.0))),)
    drawn = stored(rugged, networks=(("other", 0.5, 0.5),), paths=paths, marks="Diamonds: others.")
    again = of_file(drawn.npz(), "x.npz")
    assert again.about == drawn.about
    assert Still((again,), **SMALL).caption.endswith(" above the scale. Diamonds: others.")
    assert Still((again,), **SMALL).file("png") == Still((drawn,), **SMALL).file("png")


def _npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


REFUSED = [
    (b"text", "x.npz is no .npz file, expected what `lossmap export RUN --format npz` writes"),
    (
        _npz(loss=np.zeros(3)),
        "x.npz has no error, evaluated, group_losses, group_weights, interpolated, loss_standard_error, x, y,"
        " expected what `lossmap export RUN --format npz` writes",
    ),
    (
        _npz(**vars(stored().surface)),
        "x.npz does not say what its surface is of; write it again: lossmap export RUN --format npz",
    ),
    (
        _npz(**vars(stored().surface), about=np.array('{"run": 3}')),
        "x.npz: run of what it says about its surface: Input should be a valid string; write it again:"
        " lossmap export RUN --format npz",
    ),
]


@pytest.mark.parametrize(("content", "line"), REFUSED, ids=["text", "arrays", "silent", "wrong"])
def test_other_files_are_refused_in_a_line(content, line):
    with pytest.raises(LossmapError) as refused:
        of_file(content, "x.npz")
    assert str(refused.value) == line


def test_a_line_is_no_surface():
    line = stored()
    flat = StoredSurface(evaluate(bowl, SIDE, np.array([0.0])), line.about)
    with pytest.raises(LossmapError, match=r"^run has no surface to draw: 9 x 1 points, 9 of them finite"):
        Still((flat,), **SMALL)


@pytest.mark.parametrize(
    ("text", "size"),
    [("7", (7, None)), ("17.78cm", (7, None)), ("7x4in", (7, 4)), ("1920x960px", (6.4, 3.2))],
)
def test_sizes_are_typed_in_usual_units(text, size):
    found = size_of(text, STYLES["paper"])
    assert (found.width, found.height or 0) == pytest.approx((size[0], size[1] or 0))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "wide",
            "--size is wide, expected a width or WIDTHxHEIGHT in in, cm, mm or px, such as 17.8cm or 7x4in",
        ),
        ("1cm", "--size is 1cm, which is 0.394 inches, expected 2 to 60"),
        ("7x90", "--size is 7x90, which is 7 x 90 inches, expected 2 to 60"),
    ],
)
def test_other_sizes_are_refused(text, line):
    with pytest.raises(ExperimentError) as refused:
        size_of(text, STYLES["paper"])
    assert str(refused.value) == line


def test_a_size_is_kept_and_one_without_room_is_refused():
    still = Still(PAIR, STYLES["slides"], size_of("1920x1080px", STYLES["slides"]), facets=10)
    assert Image.open(io.BytesIO(still.file("png"))).size == (1920, 1080)
    with pytest.raises(ExperimentError, match=r"^--size leaves no room for 2 networks above \d+ lines"):
        Still(PAIR, PAPER, Size(2.0, 2.0), facets=10).figure()


def test_a_slide_says_what_is_needed_to_read_it_and_its_file_the_rest():
    still = Still(PAIR, replace(STYLES["slides"], dots=20), Size(13.0), facets=10)
    assert "plus: the trained network" in still.legend
    assert len(still.legend) < len(still.caption) / 2
    shown = [text.get_text().replace("\n", " ") for text in still.figure().texts]
    assert still.legend in shown
    assert Image.open(io.BytesIO(still.file("png"))).info["Description"] == still.caption


def test_an_unknown_style_is_refused():
    with pytest.raises(ExperimentError, match=r"^--style is neon, expected one of paper, slides, dark$"):
        style_of("neon")


@pytest.mark.parametrize("count", [1, 3, 5])
def test_letters_lie_on_the_paper_and_not_on_each_other(count):
    figure = Still(PAIR[:1] * count, PAPER, Size(7.0), facets=10).figure()
    figure.canvas.draw()
    width, height = figure.bbox.size
    boxes = [text.get_window_extent() for text in figure.texts]
    for box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
    *names, caption = boxes
    assert not any(name.overlaps(other) for name in names for other in (*names, caption) if other is not name)
    for axes in figure.axes:
        for text in axes.texts:
            box = text.get_window_extent()
            assert box.x0 >= 0 and box.x1 <= width and box.y0 > caption.y1


def test_a_turn_is_a_gif_of_one_layout():
    content = turn(Still((stored(),), PAPER, Size(3.0)), frames=2, facets=8)
    image = Image.open(io.BytesIO(content))
    assert (image.n_frames, image.width, image.info["loop"]) == (2, 960, 0)
    frames = []
    for index in range(2):
        image.seek(index)
        frames.append(np.asarray(image.convert("L")).astype(int))
    assert not np.array_equal(frames[0], frames[1])
    caption = slice(-100, None)
    np.testing.assert_allclose(frames[0][caption], frames[1][caption], atol=12)
