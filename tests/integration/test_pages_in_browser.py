"""Pages in a real browser: what is drawn, what is logged, what is asked of the network, and what happens
under a hand.
"""

import io
import time
from pathlib import Path

import numpy as np
import pytest
from fakes.browser import Browser
from PIL import Image
from reference import pages
from reference.summaries import evaluate, summary

from lossmap.components.figures.run.page import run_page

EYES = (
    "['surface-0', 'surface-1'].map((id) =>"
    " document.getElementById(id)._fullLayout.scene._scene.getCamera().eye)"
)


def visit(tab: Browser, folder: Path, html: str, width: int = 1280, scheme: str = "light") -> None:
    """Open a page and wait until every figure is drawn."""
    page = folder / "page.html"
    page.write_text(html, encoding="utf-8")
    tab.show(page, width, scheme=scheme)
    tab.wait_for("document.body.dataset.drawn")


def middle(tab: Browser, name: str) -> tuple[float, float]:
    box = tab.evaluate(f"document.getElementById('{name}').getBoundingClientRect().toJSON()")
    return box["left"] + box["width"] / 2, box["top"] + box["height"] / 2


def point_at_the_corner(tab: Browser) -> None:
    """Move the mouse over the map of 21 x 21 points to its last cell, at the right below: (1, -1)."""
    area = tab.evaluate("document.querySelector('#map-0 .nsewdrag').getBoundingClientRect().toJSON()")
    cell = area["width"] / 21
    tab.mouse("mouseMoved", area["right"] - 2 * cell, area["bottom"] - 2 * cell)
    tab.mouse("mouseMoved", area["right"] - cell / 2, area["bottom"] - cell / 2)


def together(tab: Browser) -> np.ndarray:
    """Wait until both cameras are at one place; where."""
    same = (
        f"(() => {{ const [a, b] = {EYES}; return Math.max(...['x', 'y', 'z'].map((k) => Math.abs(a[k] -"
        " b[k]))) < 1e-6 && a; })()"
    )
    time.sleep(0.6)  # the wheel and the reset button are followed a little later
    eye = tab.wait_for(same)
    return np.array([eye[axis] for axis in "xyz"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_of_a_run_draws_every_figure_without_a_problem(tab: Browser, tmp_path: Path, scheme: str):
    visit(tab, tmp_path, run_page(pages.runs()[0]), scheme=scheme)
    count = (
        "{ svg: div.querySelectorAll('svg.main-svg').length, canvas: div.querySelectorAll('canvas').length,"
        " paths: div.querySelectorAll('path').length }"
    )
    drawn = tab.evaluate(
        f"Object.fromEntries([...document.querySelectorAll('.plot')].map((div) => [div.id, {count}]))"
    )
    assert tab.problems == []
    assert set(drawn) == {
        "surface-0",
        "map-0",
        "slices",
        "profile-loss",
        "profile-error",
        "epochs-loss",
        "epochs-error",
    }
    assert drawn["surface-0"]["canvas"] >= 1
    assert all(found["svg"] >= 1 for found in drawn.values())
    assert all(found["paths"] >= 5 for name, found in drawn.items() if name != "surface-0")
    assert "WebGL is not supported" not in tab.evaluate("document.body.innerText")


def test_a_page_with_paths_draws_them_without_a_problem(tab: Browser, tmp_path: Path):
    visit(tab, tmp_path, pages.run())
    assert tab.problems == []
    assert tab.evaluate("document.querySelectorAll('#trajectory-loss .scatterlayer .trace').length") == 4
    assert tab.evaluate("document.querySelectorAll('#map-0 .scatterlayer .trace .js-line').length") == 2
    assert "<b>sgd" in tab.evaluate("document.querySelector('.legend').innerText")


def test_text_is_light_on_dark_and_dark_on_light(tab: Browser, tmp_path: Path):
    found = {}
    for scheme in ("light", "dark"):
        visit(tab, tmp_path, run_page(pages.runs()[0]), scheme=scheme)
        style = (
            "getComputedStyle({}).{}.match(/[0-9.]+/g).slice(0, 3).reduce((sum, part) => sum +"
            " Number(part), 0)"
        )
        label = style.format("document.querySelector('#epochs-loss .xtick text')", "fill")
        found[scheme] = (tab.evaluate(label), tab.evaluate(style.format("document.body", "backgroundColor")))
    assert found["light"][0] + 300 < found["light"][1]
    assert found["dark"][0] > found["dark"][1] + 300


def test_the_surface_is_really_painted(tab: Browser, tmp_path: Path):
    visit(tab, tmp_path, run_page(pages.runs()[1]))
    box = tab.evaluate("document.getElementById('surface-0').getBoundingClientRect().toJSON()")
    image = (
        Image.open(io.BytesIO(tab.screenshot()))
        .convert("RGB")
        .crop(tuple(round(box[side]) for side in ("left", "top", "right", "bottom")))
    )
    pixels = np.asarray(image).astype(int)
    colourful = np.ptp(pixels, axis=2) > 60
    assert colourful.mean() > 0.1
    assert len(np.unique(pixels[colourful], axis=0)) > 500


def test_a_page_asks_for_nothing_but_itself(tab: Browser, tmp_path: Path):
    visit(tab, tmp_path, pages.comparison())
    made_by_the_page = ("data:", "blob:")
    assert [address for address in tab.requests if not address.startswith(made_by_the_page)] == [
        (tmp_path / "page.html").as_uri()
    ]
    assert tab.problems == []


def test_a_request_and_a_problem_would_be_seen(tab: Browser, tmp_path: Path):
    page = tmp_path / "page.html"
    page.write_text(
        "<body><script>throw new Error('broken')</script><img src='http://127.0.0.1:9/image.png'></body>",
        encoding="utf-8",
    )
    tab.show(page)
    assert "http://127.0.0.1:9/image.png" in tab.requests
    assert any("broken" in problem for problem in tab.problems)


def test_the_policy_of_a_page_stops_a_request_that_slipped_in(tab: Browser, tmp_path: Path):
    visit(
        tab,
        tmp_path,
        run_page(pages.runs()[0]).replace("<main>", "<main><img src='http://127.0.0.1:9/image.png'>"),
    )
    assert any("Content Security Policy" in problem for problem in tab.problems)


def test_dragging_zooming_and_resetting_one_surface_moves_all(tab: Browser, tmp_path: Path):
    visit(tab, tmp_path, pages.comparison())
    start = together(tab)
    x, y = middle(tab, "surface-0")
    tab.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
    for step in range(15):
        tab.mouse("mouseMoved", x + 6 * step, y - 3 * step, button="left", buttons=1)
        time.sleep(0.03)
    tab.mouse("mouseReleased", x + 84, y - 42, button="left", clickCount=1)
    dragged = together(tab)
    assert np.abs(dragged - start).max() > 0.2
    tab.mouse("mouseWheel", *middle(tab, "surface-1"), deltaX=0, deltaY=300)
    zoomed = together(tab)
    assert np.linalg.norm(zoomed) > 1.1 * np.linalg.norm(dragged)
    tab.evaluate("document.querySelector('#surface-1 .modebar-btn:last-child').click()")
    assert together(tab) == pytest.approx(start, abs=1e-6)
    assert tab.problems == []


def test_the_height_switch_changes_every_surface_and_back(tab: Browser, tmp_path: Path):
    visit(tab, tmp_path, pages.comparison())
    axes = (
        "['surface-0', 'surface-1'].map((id) =>"
        " document.getElementById(id)._fullLayout.scene.zaxis).map((axis) => [axis.type, ...axis.range])"
    )
    logarithmic, linear = (
        [["log", pytest.approx(-2.03), pytest.approx(2.03)]] * 2,
        [["linear", 0, pytest.approx(102)]] * 2,
    )
    assert tab.evaluate(axes) == logarithmic
    for name, kind, expected in (("linear", "linear", linear), ("logarithmic", "log", logarithmic)):
        tab.evaluate(f"document.querySelector('input[value={name}]').click()")
        tab.wait_for(f"{axes}.every(([type]) => type === '{kind}')")
        assert tab.evaluate(axes) == expected
    assert tab.problems == []


def test_pointing_at_the_map_tells_loss_uncertainty_and_error(tab: Browser, tmp_path: Path):
    run = pages.runs()[0]
    visit(tab, tmp_path, run_page(run))
    point_at_the_corner(tab)
    text = "document.querySelector('#map-0 .hoverlayer')?.textContent"
    tab.wait_for(f"{text}?.startsWith('x 1.000')")
    loss, half, error = (
        run.plane.loss[0, 20],
        1.96 * run.plane.loss_standard_error[0, 20],
        run.plane.error[0, 20],
    )
    assert tab.evaluate(text) == f"x 1.000, y -1.000loss {loss:.4g} ± {half:.2g}error {error:.2%}"


def test_pointing_at_the_surface_tells_the_values_of_that_place_and_not_of_its_mirror_image(
    tab: Browser, tmp_path: Path
):
    oblong = evaluate(lambda x, y: 0.5 + 0.4 * x + 0.02 * y, np.linspace(-1, 1, 31), np.linspace(0, 3, 11))
    visit(tab, tmp_path, run_page(summary(plane=oblong)))
    tab.evaluate(
        "window.told = []; document.getElementById('surface-0').on('plotly_hover', "
        "({ points: [{ x, y, z, customdata }] }) => told.push([x, y, z, customdata?.[0], customdata?.[2]]))"
    )
    x, y = middle(tab, "surface-0")
    for step in range(60):
        tab.mouse("mouseMoved", x + 2 * (step % 30), y + 20 - step % 30)
        time.sleep(0.1)
        if tab.evaluate("told.length") >= 3:
            break
    points = tab.evaluate("told")
    assert len(points) >= 3
    for across, up, height, loss, error in points:
        assert height == pytest.approx(0.5 + 0.4 * across + 0.02 * up, rel=1e-9)
        assert loss == pytest.approx(height, rel=1e-6)
        assert error == pytest.approx(0.9 * (1 - np.exp(-height)), rel=1e-6)


def test_what_is_done_on_one_picture_shows_on_the_others(tab: Browser, tmp_path: Path):
    run = pages.runs()[0]
    visit(tab, tmp_path, run_page(run))
    point_at_the_corner(tab)
    dot = "document.getElementById('surface-0').data.at(-1)"
    tab.wait_for(f"{dot}.visible === true")
    assert tab.evaluate(f"[{dot}.x[0], {dot}.y[0], {dot}.z[0]]") == pytest.approx(
        [1.0, -1.0, run.plane.loss[0, 20]], rel=1e-6
    )
    tab.evaluate(
        "for (const [id, value] of [['cut-x', 3], ['cut-y', 17]]) {"
        " const input = document.getElementById(id); input.value = value;"
        " input.dispatchEvent(new Event('input')); }"
    )
    assert tab.evaluate("document.getElementById('cut-x-value').textContent") == "-0.700"
    cuts = tab.evaluate("document.getElementById('slices').data.map((trace) => trace.y)")
    assert cuts[0] == pytest.approx(run.plane.loss[17], rel=1e-5)
    assert cuts[1] == pytest.approx(run.plane.loss[:, 3], rel=1e-5)
    tab.evaluate(
        "document.getElementById('search').value = 'test wrong';"
        " document.getElementById('search').dispatchEvent(new Event('input'))"
    )
    shown = "[...document.querySelectorAll('#numbers tr:not(.theme)')].filter((row) => row.offsetParent)"
    assert tab.evaluate(f"{shown}.map((row) => row.querySelector('code')?.textContent)") == [
        None,
        "test_error",
    ]
    assert tab.problems == []


def test_markup_in_a_name_is_shown_and_not_run(tab: Browser, tmp_path: Path):
    visit(tab, tmp_path, pages.comparison())
    assert tab.evaluate("document.title") == "Comparison of 2 runs"
    assert "<script>document.title='owned'</script>" in tab.evaluate("document.body.innerText")


@pytest.mark.parametrize("html", [run_page(pages.runs()[0]), pages.comparison()], ids=["run", "comparison"])
def test_a_page_fits_a_phone(tab: Browser, tmp_path: Path, html: str):
    visit(tab, tmp_path, html, width=390)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert tab.problems == []
