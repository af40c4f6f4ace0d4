"""What a still says below itself: what was evaluated, on what scale, and what lies between points."""

from collections.abc import Sequence

from lossmap.components.figures.export.stored import StoredSurface
from lossmap.components.figures.frame import counts
from lossmap.components.figures.numbers import with_thousands
from lossmap.components.figures.run import captions
from lossmap.components.figures.scale import Scale


def caption(drawn: Sequence[StoredSurface], scale: Scale) -> str:
    """What all networks share is said once, what differs for each by its name."""
    names = titles(drawn)
    evaluations = {each.about.evaluation for each in drawn}
    own = [_own(each, scale) for each in drawn]
    if len(evaluations) == 1:
        shared = [f"{evaluations.pop()} {_how(drawn, scale)}"]
    else:
        shared = [_how(drawn, scale)]
        own = [f"{each.about.evaluation} {text}" for each, text in zip(drawn, own, strict=True)]
    if len(drawn) == 1:
        return f"{shared[0]} {own[0]}"
    return "\n".join(shared + [f"{name}: {text}" for name, text in zip(names, own, strict=True)])


def brief(drawn: Sequence[StoredSurface], scale: Scale) -> str:
    """What is needed to read the picture."""
    measured = dict.fromkeys(each.about.evaluation.partition(". ")[0].rstrip(".") for each in drawn)
    thick = "thick line: uniform guessing; " if any(each.about.guess for each in drawn) else ""
    between = any(each.surface.interpolated.any() for each in drawn)
    dots = "; dots: evaluated points, interpolated between" if between else ""
    marks = f"{thick}plus: the trained network{dots}."
    return f"{'; '.join(measured)}. {scale.text} {marks[0].upper()}{marks[1:]}"


def titles(drawn: Sequence[StoredSurface]) -> list[str]:
    """The networks' names; where two have the same, those of the runs."""
    names = [each.about.title for each in drawn]
    return names if len(set(names)) == len(names) else [each.about.run for each in drawn]


def _how(drawn: Sequence[StoredSurface], scale: Scale) -> str:
    guesses = sorted({each.about.guess for each in drawn if each.about.guess})
    thick = f"; thick: uniform guessing, {' and '.join(guesses)}" if guesses else ""
    dots = "; dots: evaluated points" if any(each.surface.interpolated.any() for each in drawn) else ""
    return (
        f"{scale.text} Between points the sheet is bilinear on this scale, lit from the left, and cut off"
        f" above it. Lines of equal loss ({captions.lines(scale)}{thick}) on the sheet and on the floor."
        f" Plus: the trained network; ring: the lowest point{dots}."
    )


def _own(drawn: StoredSurface, scale: Scale) -> str:
    surface = drawn.surface
    number = counts(surface, scale)
    points = with_thousands(number.points)
    evaluated = f"all {points} points were evaluated"
    if surface.interpolated.any():
        evaluated = (
            f"{with_thousands(int(surface.evaluated.sum()))} of {points} points were evaluated, the others"
            f" interpolated {drawn.about.interpolation}"
        )
    kinds = {
        "above the scale": number.above,
        "below it, drawn at its lower end": number.below,
        "without a finite loss, left out": number.nan + number.infinite,
        "not evaluated, left out": number.missing,
    }
    parts = [evaluated, *(f"{with_thousands(count)} {kind}" for kind, count in kinds.items() if count)]
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}. {drawn.about.marks}".strip()
