"""What a comparison says, in words: the same ones everywhere."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lossmap.components.core.estimates import Support
from lossmap.components.figures.comparison.contrasts import (
    BASIN,
    CONVEXITY,
    CURVATURE,
    FLOOR,
    TEST_ERROR,
    Comparison,
    Contrast,
    Quantity,
)
from lossmap.components.figures.numbers import factor, markdown, points, scalar, signed
from lossmap.components.landscape.measures.differences import Difference

_MOST_CLAUSES = 3


@dataclass(frozen=True)
class _Words:
    """How a difference is told: of which of the two runs, and what."""

    of_the_greater: bool
    text: str


_WORDS: Mapping[Quantity, _Words] = {
    BASIN: _Words(True, "{subject} has a wider basin than {other}"),
    CONVEXITY: _Words(True, "{subject} is convex along more of its line than {other}"),
    FLOOR: _Words(False, "{subject} has a lower loss on its plane than {other}"),
    CURVATURE: _Words(True, "{subject} is curved more sharply than {other}"),
    TEST_ERROR: _Words(False, "{subject} makes fewer errors on the test set than {other}"),
}


def answer(comparison: Comparison) -> str:
    """What differs, the surest first; of many differences three."""
    if len(comparison.runs) < 2:
        return "There is one run: nothing to compare."
    if not comparison.contrasts:
        return "These runs cannot be compared."
    sure = [contrast for contrast in comparison.contrasts if contrast.is_sure]
    if sure:
        clauses = [clause(comparison, contrast) for contrast in sure[:_MOST_CLAUSES]]
        more = len(sure) - len(clauses)
        rest = f"; and {more} more difference{'' if more == 1 else 's'}" if more else ""
        return f"{'; '.join(clauses)}{rest}."
    first, count = comparison.contrasts[0], len(comparison.contrasts)
    if first.verdict == "alone":
        return (
            f"By itself the surest difference would be that {clause(comparison, first)}; among the {count}"
            " that are compared here, chance makes such a one too easily."
        )
    return f"Nothing that is compared here is decided by these surveys: {_open(comparison)}."


def clause(comparison: Comparison, contrast: Contrast) -> str:
    """One difference: of which run it is told, both numbers, by how much, and its interval."""
    words, names = _WORDS[contrast.quantity], comparison.names
    is_first = (contrast.difference.middle >= 0) == words.of_the_greater
    subject, other = (contrast.first, contrast.second) if is_first else (contrast.second, contrast.first)
    difference = contrast.difference if is_first else contrast.difference.turned
    text = words.text.format(subject=names[subject], other=names[other])
    measure = contrast.quantity.measure
    return (
        f"{text} ({scalar(measure, difference.first)} against {scalar(measure, difference.second)}:"
        f" {effect(difference)})"
    )


def effect(difference: Difference) -> str:
    """By how much the first differs from the second, with the 95 % interval."""
    ends, write = difference.ends(), _writer(difference)
    interval = f", 95 %: {write(ends[0])} to {write(ends[1])}" if ends else ", its interval is not known"
    if difference.is_ratio:
        return f"a factor of {write(difference.effect)}{interval}"
    unit = " points" if difference.support is Support.SHARE_DIFFERENCE else ""
    return f"{write(difference.effect)}{unit}{interval}"


def _writer(difference: Difference) -> Callable[[float], str]:
    if difference.support is Support.SHARE_DIFFERENCE:
        return points
    return factor if difference.is_ratio else signed


def caveats(comparison: Comparison) -> list[str]:
    """What is open, what is not compared, and what these runs cannot tell, in sentences."""
    found = []
    undecided = _open(comparison)
    if undecided and any(contrast.is_sure for contrast in comparison.contrasts):
        found.append(f"Not decided: {undecided}.")
    found += [f"Not compared: {reason}." for reason in comparison.absent]
    count = len(comparison.runs)
    if count < 2:
        return found
    if any(contrast.difference.pairs == 1 for contrast in comparison.contrasts):
        found.append(
            "One pair of directions: the intervals of basin, convexity and floor hold for these planes, and"
            " say nothing of others; more are surveyed with landscape.pairs=4."
        )
    number_word = {2: "two", 3: "three"}.get(count, str(count))
    if all(run.experiment.training for run in comparison.runs):
        found.append(
            f"One training seed each: this compares {number_word} trained networks, not {number_word}"
            " architectures; `lossmap study` compares these, over several seeds."
        )
    else:
        found.append(f"This compares {number_word} networks as they are, not the ways to train them.")
    return found


def note(comparison: Comparison) -> str:
    """The same as Markdown, with the names of the runs that are compared."""
    runs = ", ".join(f"`{run.run}`" for run in comparison.runs)
    return (
        f"**{markdown(answer(comparison))}** {markdown(' '.join(caveats(comparison)))}\n\nThat is of {runs}."
    )


def _open(comparison: Comparison) -> str:
    """Quantities with the couples of runs that are not decided in them."""
    names, couples = comparison.names, {(each.first, each.second) for each in comparison.contrasts}
    by_quantity: dict[str, list[str]] = {}
    for contrast in comparison.contrasts:
        if not contrast.is_sure:
            couple = f"{names[contrast.first]} and {names[contrast.second]}"
            by_quantity.setdefault(contrast.quantity.name, []).append(couple)
    if len(couples) == 1:
        return ", ".join(by_quantity)
    return "; ".join(
        name if len(found) == len(couples) else f"{name} between {', '.join(found)}"
        for name, found in by_quantity.items()
    )
