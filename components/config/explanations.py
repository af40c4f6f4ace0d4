"""What is to be known of each number of a report besides its definition: its unit, where it is computed, how
sure it is, and what it cannot say. Formula and source are in the docstrings of what computes it.
"""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lossmap.components.config.definitions import definition
from lossmap.components.config.scalars import measure_of

_COMPONENTS = Path(__file__).parents[1]
_SECTION = re.compile(r"^(?:Args|Attributes|Returns|Raises):$", re.MULTILINE)
_SHARE, _LOSS, _CURVATURE = "share of 1", "of the loss: nats of cross-entropy", "of the loss / weight²"
_NUMBER = "a number without unit"

_ON_SAMPLES = "A number of the whole split: it has no interval here."
_COUNTED = "A count: it has no interval; with several pairs of directions it has their range."
_SURFACE = (
    "The mean over the pairs of directions. From four pairs on the 95 % interval holds the variation of the"
    " samples (BCa bootstrap of their groups) and of the directions; of two and three pairs there is their"
    " range; with one pair the directions' part is unknown."
)
_SPECTRUM = (
    "The 95 % interval holds the variation of the samples for fixed vectors, and of random vectors where"
    " these are drawn; not the upward bias of a greatest eigenvalue on few samples."
)
_LAST_EPOCH = "A mean over the last epoch: it has no interval."

_ONE_PLANE = "A plane is two of very many dimensions: another pair of directions has another value."
_SCALE = (
    "Filter normalisation does not make it independent of how weights are scaled (lossmap survey"
    " --prove-invariance)."
)
_GENERALISES = "It is not known to tell how well a network generalises."
_STEP = "It depends on the grid's step: compare equal steps only."
_LOCAL = "It holds at the trained weights alone, on the survey's samples, with BatchNorm's statistics frozen."
_TRAINED = "One training seed says nothing of another one."


@dataclass(frozen=True)
class Explanation:
    """Of a measure.

    Attributes:
        unit: of its values.
        computed: files and objects in lossmap.components whose docstrings have formula, way of computing and
            sources; empty where the definition is all there is.
        certainty: what its interval holds.
        silence: what it cannot say.
    """

    unit: str
    computed: tuple[str, ...]
    certainty: str
    silence: tuple[str, ...]


def _surface(unit: str, function: str, *silence: str) -> Explanation:
    places = (f"landscape/measures/surface.py:{function}",)
    return Explanation(unit, places, _SURFACE, (_ONE_PLANE, _SCALE, *silence))


def _hessian(places: tuple[str, ...], *silence: str, unit: str = _CURVATURE) -> Explanation:
    computed = tuple(f"landscape/hessian/{place}" for place in places)
    return Explanation(unit, computed, _SPECTRUM, (_LOCAL, _GENERALISES, *silence))


def _experts(*places: str) -> Explanation:
    computed = tuple(f"models/experts.py:{place}" for place in places)
    return Explanation(_NUMBER, computed, _LAST_EPOCH, (_TRAINED,))


_ACCURACY = ("training/loop.py:Accuracy",)
_EIGENVALUE = ("operators.py:Hessian", "lanczos.py:eigenpairs", "curvature.py:Eigenvalue.estimate")
_TRACE = ("operators.py:Hessian", "traces.py:trace")
_GAUSS_NEWTON = ("operators.py:GaussNewton", "curvature.py:Matrix.trace")
_FISHER = ("fisher.py:has_labels", "curvature.py:Matrix.trace")
_EMPIRICAL = ("fisher.py:EmpiricalFisher", "curvature.py:Matrix.trace")
_RESCALED = "Rescaling weights changes it without changing the network (Dinh et al. 2017)."

EXPLANATIONS: Mapping[str, Explanation] = {
    "test_error": Explanation(_SHARE, _ACCURACY, _ON_SAMPLES, (_TRAINED,)),
    "test_loss": Explanation(_LOSS, _ACCURACY, _ON_SAMPLES, (_TRAINED,)),
    "train_error": Explanation(_SHARE, _ACCURACY, _ON_SAMPLES, (_TRAINED,)),
    "train_loss": Explanation(_LOSS, _ACCURACY, _ON_SAMPLES, (_TRAINED,)),
    "parameters": Explanation(
        "numbers", (), "It is exact.", ("Size alone does not say what can be learnt.",)
    ),
    "training_seconds": Explanation(
        "seconds", (), "It is measured once.", ("It depends on the machine and on what else it did.",)
    ),
    "centre_loss": _surface(_LOSS, "centre_loss"),
    "floor": _surface(_LOSS, "floor", "A lower loss may lie off the grid's points, or off the plane."),
    "ceiling": _surface(_LOSS, "ceiling", "It grows with the plane's extent."),
    "basin_fraction": _surface(_SHARE, "fraction_below", "It depends on the plane's extent."),
    "centre_basin_fraction": _surface(_SHARE, "centre_fraction_below", "It depends on the plane's extent."),
    "convex_fraction": _surface(
        _SHARE,
        "convex_fraction",
        _STEP,
        "Convexity along two directions is not convexity: hessian_convex_fraction looks at all.",
    ),
    "roughness": _surface("1 / squared length of a direction", "roughness", _STEP),
    "spacing": _surface("length of a direction", "spacing"),
    "minima": _surface("minima", "minima", "A minimum on a plane can be a saddle of the whole loss.", _STEP),
    "largest_persistence": _surface("ln of a ratio of losses", "largest_persistence", _STEP),
    "rise": _surface(_LOSS, "rise", _STEP),
    "fall": _surface(_LOSS, "fall", _STEP),
    "hessian_largest": _hessian(_EIGENVALUE, _RESCALED),
    "hessian_smallest": _hessian(_EIGENVALUE, _RESCALED),
    "hessian_negative_to_positive": _hessian(
        ("curvature.py:CurvatureResult.negative_to_positive",),
        "It compares two eigenvalues of very many.",
        unit=_NUMBER,
    ),
    "hessian_trace": _hessian(_TRACE, _RESCALED),
    "hessian_convex_fraction": Explanation(
        _SHARE,
        ("landscape/hessian/convexity.py:ConvexityResult", "landscape/hessian/lanczos.py:eigenpairs"),
        "A share of the points of a grid: it has no interval.",
        (_ONE_PLANE, _GENERALISES),
    ),
    "effective_dimension": _hessian(
        ("curvature.py:CurvatureResult.effective_dimension", "lanczos.py:spectral_density"),
        "It depends on alpha.",
        unit="dimensions",
    ),
    "gauss_newton_largest": _hessian(_GAUSS_NEWTON),
    "gauss_newton_trace": _hessian(_GAUSS_NEWTON),
    "fisher_largest": _hessian(_FISHER),
    "fisher_trace": _hessian(_FISHER),
    "empirical_fisher_largest": _hessian(_EMPIRICAL, "It is not the Fisher matrix."),
    "empirical_fisher_trace": _hessian(_EMPIRICAL, "It is not the Fisher matrix."),
    "worst_case_sharpness": _hessian(("sharpness.py:worst_case",), unit=_LOSS),
    "adaptive_worst_case_sharpness": _hessian(("sharpness.py:worst_case",), unit=_LOSS),
    "average_case_sharpness": _hessian(("sharpness.py:average_case",), unit=_LOSS),
    "adaptive_average_case_sharpness": _hessian(("sharpness.py:average_case",), unit=_LOSS),
    "keskar_box_sharpness": _hessian(("sharpness.py:keskar_box",), unit="percent"),
    "balance_loss": _experts("Balance.loss", "squared_variation", "load_estimate"),
    "importance_cv": _experts("Balance.routing", "squared_variation"),
    "load_cv": _experts("Balance.routing", "squared_variation"),
    "load_max_over_mean": _experts("Balance.routing"),
    "dropped_share": _experts("Balance.routing"),
    "trajectory_explained": Explanation(
        _SHARE,
        ("landscape/directions/trajectory.py:Projection.explained",),
        "It is exact for the snapshots that were kept.",
        ("What is off the plane has another loss than its projection.",),
    ),
    "points": Explanation("points", (), "It is exact.", ()),
    "evaluated_points": Explanation("points", (), _COUNTED, ()),
    "masked_points": Explanation("points", (), _COUNTED, ()),
}


def matching(name: str) -> list[str]:
    """The measures that a name means: that of a scalar, as in a report, else all that have it in their
    names.
    """
    if measure_of(name) in EXPLANATIONS:
        return [name]
    return [measure for measure in EXPLANATIONS if name in measure]


def explanation(name: str) -> Explanation:
    """Of a scalar of a report."""
    return EXPLANATIONS[measure_of(name)]


@cache
def docstring(place: str) -> str:
    """What a docstring says of an object, or of an attribute of it, without its arguments and errors. It is
    read from the source, so that nothing is imported.

    Args:
        place: file:object, or file:object.attribute.
    """
    file, _, path = place.partition(":")
    name, _, attribute = path.partition(".")
    tree = ast.parse((_COMPONENTS / file).read_text(encoding="utf-8"))
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef))
    text = ast.get_docstring(next(node for node in nodes if node.name == name)) or ""
    if not attribute:
        return _SECTION.split(text)[0].strip()
    described = re.split(r"\n    (?=\w+: )", text.partition("Attributes:")[2])
    found = next(each for each in described if each.startswith(f"{attribute}: "))
    return " ".join(found.split()).removeprefix(f"{attribute}: ")


def record(name: str) -> dict[str, object]:
    """Everything about a scalar, for programs."""
    found = explanation(name)
    return {
        "name": name,
        "definition": definition(name),
        "unit": found.unit,
        "computed": [{"place": place, "text": docstring(place)} for place in found.computed],
        "certainty": found.certainty,
        "silence": list(found.silence),
    }
