"""What every page has in common: templates, and data for scripts. Whatever comes from a run is escaped."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from plotly import graph_objects as go
from plotly.offline import get_plotlyjs, get_plotlyjs_version

from lossmap.components.config.definitions import definition
from lossmap.components.figures import numbers

_FOLDER = Path(__file__).parent / "templates"
TEMPLATES = Environment(
    loader=FileSystemLoader(_FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters["label"] = numbers.label
TEMPLATES.filters["definition"] = definition


def with_code(text: str) -> Markup:
    """Text whose parts between backticks are code."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else part for index, part in enumerate(parts)
    )


TEMPLATES.filters["with_code"] = with_code

BLANK = go.layout.Template()  # the page brings its own colours, light and dark


@dataclass(frozen=True)
class SharedScript:
    """plotly as a file of its own, beside many pages.

    Attributes:
        path: from the page to that file.
    """

    path: str


def render(
    template: str,
    figures: Mapping[str, go.Figure],
    heights: Mapping[str, Any] | None = None,
    shared: SharedScript | None = None,
    cuts: Sequence[Sequence[float | None]] = (),
    **values: Any,
) -> str:
    """A page as one HTML file that needs no network.

    Its policy allows no scripts but its own: inline ones by their digest, a shared one by a nonce that is the
    digest of what the page draws, which nothing within that can know.

    Args:
        template: name of its file.
        figures: by the id of the element that they are drawn into.
        heights: the axes of height that a reader chooses from, if any.
        shared: where plotly is, in a light page; without it, it is in the page.
        cuts: heights of a plane's points, row by row, for a reader who cuts it.
        values: what else the template names.
    """
    drawn, script = figures_json(figures, heights, cuts), _source("page.js")
    plotly = Markup("" if shared else get_plotlyjs())
    nonce = hashlib.sha256(drawn.encode()).hexdigest()
    allowed = [f"'nonce-{nonce}'" if shared else _digest(plotly), _digest(script)]
    return TEMPLATES.get_template(template).render(
        figures=drawn,
        heights=list(heights or {}),
        plotly=plotly,
        shared_script=shared,
        nonce=nonce,
        script=script,
        policy=(
            f"default-src 'none'; script-src {' '.join(allowed)}; style-src 'unsafe-inline';"
            " img-src data: blob:; base-uri 'none'; form-action 'none'"
        ),
        **values,
    )


def plotly_script() -> bytes:
    """What light pages share."""
    return str(get_plotlyjs()).encode()


def plotly_version() -> str:
    """Of that script."""
    return str(get_plotlyjs_version())


def _source(name: str) -> Markup:
    """A file that goes into pages as it is."""
    return Markup((_FOLDER / name).read_text(encoding="utf-8"))


def _digest(script: str) -> str:
    """A script as a policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def figures_json(
    figures: Mapping[str, go.Figure],
    heights: Mapping[str, Any] | None = None,
    cuts: Sequence[Sequence[float | None]] = (),
) -> Markup:
    """What a page's script draws: figures by the id of their element, the axes of height, and what is cut,
    if any.
    """
    plain = {name: _plain_json(figure) for name, figure in figures.items()}
    return script_json({"figures": plain, "heights": heights or {}, "cuts": cuts})


def script_json(value: Any) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _plain_json(figure: go.Figure) -> Any:
    """The figure as plain JSON values: NaN and infinity become null."""
    return json.loads(figure.to_json(engine="json"))
