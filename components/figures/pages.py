"""What every page has in common: templates, and data for scripts. Whatever comes from a run is escaped."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly import graph_objects as go
from plotly.offline import get_plotlyjs

from lossmap.components.figures import numbers

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters["label"] = numbers.label

BLANK = go.layout.Template()  # the page brings its own colours, light and dark


def render(
    template: str, figures: Mapping[str, go.Figure], heights: Mapping[str, Any] | None = None, **values: Any
) -> str:
    """A page as one HTML file that needs no network.

    Args:
        template: name of its file.
        figures: by the id of the element that they are drawn into.
        heights: the axes of height that a reader chooses from, if any.
        values: what else the template names.
    """
    return TEMPLATES.get_template(template).render(
        figures=figures_json(figures, heights),
        heights=list(heights or {}),
        plotly=Markup(get_plotlyjs()),
        **values,
    )


def figures_json(figures: Mapping[str, go.Figure], heights: Mapping[str, Any] | None = None) -> Markup:
    """What a page's script draws: figures by the id of their element, and the axes of height, if any."""
    plain = {name: _plain_json(figure) for name, figure in figures.items()}
    return script_json({"figures": plain, "heights": heights or {}})


def script_json(value: Any) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _plain_json(figure: go.Figure) -> Any:
    """The figure as plain JSON values: NaN and infinity become null."""
    return json.loads(figure.to_json(engine="json"))
