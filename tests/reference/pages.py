"""Pages with everything on them, of runs and studies that are written down."""

import numpy as np

from lossmap.components.config.models import Linear, ResNet
from lossmap.components.figures.comparison.contrasts import compare_runs
from lossmap.components.figures.comparison.page import comparison_page
from lossmap.components.figures.run.page import run_page
from lossmap.components.figures.run.summary import RunSummary
from lossmap.components.figures.study.lesson_page import lesson_page
from lossmap.components.figures.study.page import study_page
from lossmap.components.studies.summary import StudySummary, summarize_study
from reference import studies
from reference.summaries import bowl, evaluate, rugged, summary, with_paths, with_values

SEEDS = {"a": [0.1, 0.2, 0.3, 0.4, 0.5], "b": [1, 20, 300, 4, 5]}


def runs() -> list[RunSummary]:
    """A bowl, and a rugged surface with holes, under a name that wants to be a script."""
    side, along = np.linspace(-1, 1, 21), np.linspace(-1, 1, 41)
    holes = with_values(evaluate(rugged, side, side), {(0, 0): np.nan, (0, 1): np.inf, (20, 20): None})
    without = ResNet(depth=56, shortcuts=False)
    return [
        summary(plane=evaluate(bowl, side, side), line=evaluate(bowl, along, np.array([0.0]))),
        summary(
            run="<script>document.title='owned'</script>",
            plane=holes,
            line=evaluate(rugged, along, np.array([0.0])),
            model=without,
        ),
    ]


def run() -> str:
    """Of a run with paths of training."""
    return run_page(with_paths(runs()[0], ("<b>sgd", ()), ("adam", ())))


def comparison() -> str:
    """Of both runs."""
    return comparison_page(compare_runs(runs()))


def study() -> str:
    """Of a study with a verdict, pairs of seeds, and a run that is missing."""
    return study_page(_studied())


def lesson() -> str:
    """Of the same study."""
    surveyed = {"a": summary(run="run-a", model=Linear()), "b": summary(run="run-b", model=ResNet(depth=20))}
    return lesson_page(_studied(), surveyed)


def _studied() -> StudySummary:
    said = {
        "text": "<script>document.title='owned'</script>",
        "rule": "greater",
        "measure": "train_loss",
        "network": "b",
        "against": "a",
    }
    asked = studies.study(measures=("train_loss", "nowhere"), statements=(said,), connections=2)
    pairs = studies.pairs("a", [(0.01, 0, 0.02), (1, 0.9, 1.1)])
    return summarize_study(asked, studies.outcomes(SEEDS, "train_loss"), pairs, [studies.cell("b", 5)])
