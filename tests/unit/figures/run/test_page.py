import base64
import dataclasses
import hashlib
import json
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from reference.summaries import bowl, evaluate, summary, with_values

from lossmap.components.config.landscape import Landscape
from lossmap.components.config.models import Linear, ResNet
from lossmap.components.core.errors import LossmapError
from lossmap.components.figures.comparison.contrasts import compare_runs
from lossmap.components.figures.comparison.page import comparison_page
from lossmap.components.figures.comparison.settings import differing_fields
from lossmap.components.figures.pages import SharedScript
from lossmap.components.figures.run.page import run_page
from lossmap.components.figures.run.summary import RunSummary

EVIL = "<script>alert(1)</script>\"'&<!--"
SIDE = np.linspace(-1, 1, 5)


class Page(HTMLParser):
    """Elements with their attributes, and the text outside scripts and styles."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.inside = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside = tag
        self.text += " "

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts.append(data)
        elif self.inside != "style":
            self.text += data

    def ids(self) -> set[str | None]:
        return {attributes["id"] for _, attributes in self.elements if "id" in attributes}

    def data(self) -> dict[str, Any]:
        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is not JSON")

        found = next(script for script in self.scripts if script.startswith("{"))
        value: dict[str, Any] = json.loads(found, parse_constant=refuse)
        return value


def small(**changes: Any) -> RunSummary:
    grids = {"plane": evaluate(bowl, SIDE, SIDE), "line": evaluate(bowl, SIDE, np.array([0.0]))}
    grids |= {name: changes.pop(name) for name in list(changes) if name in grids}
    return dataclasses.replace(summary(**grids), **changes)


def evil() -> RunSummary:
    run = summary(
        run=EVIL, plane=evaluate(bowl, SIDE, SIDE), line=evaluate(bowl, SIDE, np.array([0.0])), source=EVIL
    )
    return dataclasses.replace(
        run, manifest=run.manifest.model_copy(update={"classes": (EVIL, "cat")}), scalars={EVIL: 1.0}
    )


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(run_page(small()))


def test_a_page_of_a_run_shows_its_title_its_numbers_and_its_experiment(page: Page):
    text = " ".join(page.text.split())
    assert "ResNet-56 on cifar10" in text
    assert (
        "The training loss of ResNet-56 on cifar10, trained for 30 epochs, at 25 points of a random plane"
        " through its weights." in text
    )
    assert "ResNet-56 on cifar10, trained for 30 epochs, gets 8.32 % of 10000 test images wrong" in text
    assert "Test error test_error 8.32" in text
    assert "centre_loss not available" in text
    assert small().experiment.to_yaml() in page.text
    assert "How to read this" in text


def test_every_figure_has_a_place_and_every_place_a_figure(page: Page):
    places = {
        attributes["id"]
        for tag, attributes in page.elements
        if "plot" in (attributes.get("class") or "").split()
    }
    assert (
        set(page.data()["figures"])
        == places
        == {"surface-0", "map-0", "slices", "profile-loss", "profile-error", "epochs-loss", "epochs-error"}
    )


def test_a_run_without_a_line_has_no_profile_and_no_place_for_it():
    page = Page(run_page(small(line=None)))
    assert set(page.data()["figures"]) == {"surface-0", "map-0", "slices", "epochs-loss", "epochs-error"}
    assert "profile-loss" not in page.ids()


@pytest.mark.parametrize(
    "html",
    [run_page(small()), comparison_page(compare_runs([small(), small(run="other")]))],
    ids=["run", "comparison"],
)
def test_a_page_needs_no_network(html: str):
    page = Page(html)
    fetching = {"src", "href", "srcset", "data", "poster", "action", "xlink:href"}
    asked = [attributes for _, attributes in page.elements if fetching & set(attributes)]
    assert all(attributes["href"].startswith("data:text/csv;charset=utf-8,quantity") for attributes in asked)
    assert all(attributes["download"] for attributes in asked)
    assert not [
        tag for tag, _ in page.elements if tag in ("link", "iframe", "object", "embed", "base", "img")
    ]
    style = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)[0]
    assert "url(" not in style
    assert "@import" not in style
    policy = next(
        attributes["content"]
        for _, attributes in page.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    allowed = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in page.scripts
        if not script.startswith("{")
    )
    assert policy == (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:;"
        " base-uri 'none'; form-action 'none'"
    )


def test_a_light_page_allows_no_script_but_its_own_and_the_shared_one():
    html = run_page(small(), SharedScript("../../../pages/plotly-1.js"))
    page = Page(html)
    assert len(html) < 300_000
    nonce = hashlib.sha256(page.scripts[0].encode()).hexdigest()
    assert next(attributes for tag, attributes in page.elements if tag == "script") == {
        "nonce": nonce,
        "src": "../../../pages/plotly-1.js",
    }
    assert f"script-src 'nonce-{nonce}' 'sha256-" in unescape(html)
    assert "script-src 'unsafe-inline'" not in unescape(html)


def test_every_number_has_a_definition_and_is_in_the_file():
    scalars = {"floor": 0.25, "floor_low": 0.2, "floor_high": 0.3, "line_minima": 2.0}
    page = Page(run_page(small(scalars=scalars)))
    link = next(attributes["href"] for tag, attributes in page.elements if tag == "a")
    assert unquote(link).partition(",")[2] == (
        "quantity,value\nfloor,0.25\nfloor_low,0.2\nfloor_high,0.3\nline_minima,2.0\n"
    )
    titles = [attributes["title"] for _, attributes in page.elements if attributes.get("class") == "defined"]
    assert titles[0].startswith("Least finite loss")
    assert titles[1].startswith("On the lines along the first directions: local minima")


def test_plotly_is_in_a_page_once():
    html = comparison_page(compare_runs([small(run=f"run-{index}") for index in range(3)]))
    assert len(re.findall(r"plotly\.js v\d", html)) == 1
    assert len(html) < len(run_page(small())) * 1.05


@pytest.mark.parametrize(
    "html", [run_page(evil()), comparison_page(compare_runs([evil(), small()]))], ids=["run", "comparison"]
)
def test_what_comes_from_a_run_is_text_and_never_markup(html: str):
    page = Page(html)
    assert sum(tag == "script" for tag, _ in page.elements) == 3
    assert EVIL in page.text
    assert "alert(1)" not in "".join(
        script for script in page.scripts if not script.startswith("{") and "Plotly.newPlot(id" in script
    )
    assert "<script>alert" not in html
    assert not set(next(script for script in page.scripts if script.startswith("{"))) & set("<>&")


def test_nan_and_infinity_leave_the_page_valid_json():
    plane = with_values(evaluate(bowl, SIDE, SIDE), {(0, 0): np.nan, (0, 1): np.inf, (0, 2): None})
    epochs = (
        {
            "epoch": 1,
            "train_loss": float("nan"),
            "test_loss": float("inf"),
            "train_error": 0.9,
            "test_error": 0.9,
        },
    )
    page = Page(
        run_page(
            small(plane=plane, epochs=epochs, scalars={"ceiling": float("inf"), "train_loss": float("nan")})
        )
    )
    assert page.data()["figures"]["epochs-loss"]["data"][0]["y"] == [None]
    assert "ceiling infinite" in " ".join(page.text.split())
    assert "train_loss NaN" in " ".join(page.text.split())


def test_only_fields_that_differ_are_listed():
    first, second = small(), small(run="second")
    second = dataclasses.replace(
        second, experiment=second.experiment.model_copy(update={"model": ResNet(depth=56, shortcuts=False)})
    )
    assert differing_fields([first, second]) == {"model.shortcuts": ["True", "False"]}
    assert differing_fields([first, first]) == {}


def test_a_field_that_one_experiment_lacks_differs():
    first, second = small(), small(run="second")
    second = dataclasses.replace(second, experiment=second.experiment.model_copy(update={"model": Linear()}))
    assert differing_fields([first, second])["model.depth"] == ["56", "not available"]


def test_runs_that_were_surveyed_differently_carry_a_notice():
    first, second = small(), small(run="second")
    second = dataclasses.replace(
        second,
        experiment=second.experiment.model_copy(
            update={"landscape": Landscape(samples=64, normalization="none")}
        ),
    )
    text = " ".join(Page(comparison_page(compare_runs([first, second]))).text.split())
    assert "These runs were not surveyed alike: landscape.samples, landscape.normalization differ." in text
    assert "not surveyed alike" not in Page(comparison_page(compare_runs([first, first]))).text


@pytest.mark.parametrize("count", [1, 2, 8, 9])
def test_any_number_of_runs_is_compared(count: int):
    page = Page(comparison_page(compare_runs([small(run=f"run-{index}") for index in range(count)])))
    assert {f"surface-{index}" for index in range(count)} | {
        f"map-{index}" for index in range(count)
    } <= page.ids()
    scenes = [page.data()["figures"][f"surface-{index}"]["layout"]["scene"] for index in range(count)]
    assert all(scene == scenes[0] for scene in scenes)


def test_scalars_that_only_one_run_has_are_in_the_table():
    page = Page(comparison_page(compare_runs([small(), small(run="second", scalars={"trace": 3.25})])))
    assert "Trace not available 3.25" in " ".join(page.text.split())


def test_nothing_cannot_be_compared():
    with pytest.raises(LossmapError, match=r"^no run to compare, expected at least one; name the runs$"):
        comparison_page(compare_runs([]))


def test_pictures_and_pages_do_not_import_torch():
    code = (
        "import sys, lossmap.components.figures.run.page, lossmap.components.figures.run.plots;"
        " sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
