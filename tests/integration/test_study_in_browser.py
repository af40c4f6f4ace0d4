import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.browser import CHROMIUM, Browser, browser
from reference import studies
from reference.summaries import summary as run_summary

from lossmap.components.config.models import Linear, ResNet
from lossmap.components.figures.study.lesson_page import lesson_page
from lossmap.components.figures.study.page import study_page
from lossmap.components.studies.summary import StudySummary, summarize_study

pytestmark = pytest.mark.slow  # of browsers, `make test` starts one: that of test_pages_in_browser.py
if CHROMIUM is None and os.environ.get("LOSSMAP_REQUIRE_BROWSER") != "1":
    pytest.skip(
        "no chromium on this machine; install it, or set LOSSMAP_REQUIRE_BROWSER=1 to fail instead",
        allow_module_level=True,
    )

SEEDS = {"a": [0.1, 0.2, 0.3, 0.4, 0.5], "b": [1, 20, 300, 4, 5]}


def made() -> StudySummary:
    said = {
        "text": "<script>document.title='owned'</script>",
        "rule": "greater",
        "measure": "train_loss",
        "network": "b",
        "against": "a",
    }
    study = studies.study(measures=("train_loss", "nowhere"), statements=(said,), connections=2)
    pairs = studies.pairs("a", [(0.01, 0, 0.02), (1, 0.9, 1.1)])
    return summarize_study(study, studies.outcomes(SEEDS, "train_loss"), pairs, [studies.cell("b", 5)])


def lesson() -> str:
    runs = {
        "a": run_summary(run="run-a", model=Linear()),
        "b": run_summary(run="run-b", model=ResNet(depth=20)),
    }
    return lesson_page(made(), runs)


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.mark.parametrize(
    ("page", "count"), [(lambda: study_page(made()), 3), (lesson, 4)], ids=["study", "lesson"]
)
@pytest.mark.parametrize("width", [1280, 390])
def test_every_figure_is_drawn_without_a_problem_and_fits(
    tab: Browser, tmp_path: Path, page, count: int, width: int
):
    file = tmp_path / "page.html"
    file.write_text(page(), encoding="utf-8")
    tab.show(file, width)
    tab.wait_for("document.body.dataset.drawn")
    drawn = tab.evaluate(
        "[...document.querySelectorAll('.plot')].map((div) => div.querySelectorAll('svg.main-svg,"
        " canvas').length)"
    )
    assert len(drawn) == count
    assert min(drawn) >= 1
    assert tab.problems == []
    assert [address for address in tab.requests if not address.startswith(("data:", "blob:"))] == [
        file.as_uri()
    ]
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate("document.title") != "owned"
