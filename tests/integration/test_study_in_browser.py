from pathlib import Path

import pytest
from fakes.browser import Browser
from reference import pages

pytestmark = pytest.mark.slow  # of browsers, `make test` starts one: that of test_pages_in_browser.py


@pytest.mark.parametrize(("page", "count"), [(pages.study, 3), (pages.lesson, 4)], ids=["study", "lesson"])
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
