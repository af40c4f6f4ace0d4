"""Pages by the rules of axe-core, WCAG's and some of good practice: what a screen reader, the keyboard and
poor sight need, as far as a machine can tell.
"""

import os
from pathlib import Path

import pytest
from fakes.browser import Browser
from reference import pages

AXE = Path(__file__).parents[2] / "build/axe/node_modules/axe-core/axe.min.js"
FINDINGS = (
    "axe.run({ resultTypes: ['violations'] }).then(({ violations }) => violations.map(({ id, nodes }) => [id,"
    " nodes.map(({ html, failureSummary }) => [html, failureSummary])]))"
)

pytestmark = pytest.mark.slow  # starts another browser
if not AXE.exists() and os.environ.get("LOSSMAP_REQUIRE_BROWSER") != "1":
    pytest.skip("no axe-core; `make test-slow` gets it where npm is", allow_module_level=True)


def findings(tab: Browser) -> list[tuple[str, list[tuple[str, str]]]]:
    """Rules that the page breaks, whatever is folded away; each with its elements and what is wrong there."""
    tab.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    tab.evaluate(f"{AXE.read_text(encoding='utf-8')}; 0")
    found: list[tuple[str, list[tuple[str, str]]]] = tab.evaluate(FINDINGS)
    return found


@pytest.mark.parametrize("page", [pages.run, pages.comparison, pages.study, pages.lesson])
def test_a_page_breaks_no_rule_light_or_dark_at_a_desk_or_on_a_phone(tab: Browser, tmp_path: Path, page):
    file = tmp_path / "page.html"
    file.write_text(page(), encoding="utf-8")
    for width in (1440, 390):
        for scheme in ("light", "dark"):
            tab.show(file, width, scheme=scheme)
            tab.wait_for("document.body.dataset.drawn")
            assert findings(tab) == [], (width, scheme)
            assert tab.evaluate("document.documentElement.scrollWidth") <= width  # all folds are open


def test_a_broken_rule_would_be_found(tab: Browser, tmp_path: Path):
    file = tmp_path / "page.html"
    faint = "<p style='color: #ccc; background: #fff'>faint</p>"
    file.write_text(f"<!doctype html><title>t</title><main><h1>h</h1>{faint}</main>", encoding="utf-8")
    tab.show(file)
    assert {rule for rule, _ in findings(tab)} == {"color-contrast", "html-has-lang"}
