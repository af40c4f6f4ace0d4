"""The words and rows of a study's pages."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lossmap.components.figures import numbers
from lossmap.components.figures.study.figures import mean_interval
from lossmap.components.studies.effects import Effect, Interval, share_interval
from lossmap.components.studies.samples import BARRIER, Numbers, Sample
from lossmap.components.studies.summary import StudySummary

ABSENT = "\N{EM DASH}"
_PATHS = {
    "linear": "straight line",
    "aligned": "line after alignment",
    "repaired": "line after alignment and repair",
    "curve": "trained curve",
}
FINAL_LOSS = "train_loss"
_SPELLED_OUT = 1e6  # what is greater is written as a power of ten
_PLACES = 6  # before or after the point, beyond which as well


@dataclass(frozen=True)
class Connected:
    """How many pairs of networks a path connects."""

    sample: Sample
    path: str
    count: int
    interval: Interval


def mean(sample: Sample) -> str:
    """Mean and standard deviation between seeds."""
    return mean_and_deviation(sample.measure, sample.mean, sample.deviation)


def mean_and_deviation(measure: str, value: float | None, deviation: float | None) -> str:
    """The mean of a measure with its standard deviation, where there is one; shares in percent."""
    if value is None:
        return ABSENT
    unit, scale = ("\N{NARROW NO-BREAK SPACE}%", 100) if numbers.is_share(measure) else ("", 1)
    scaled = None if deviation is None else scale * deviation
    return _with_deviation(scale * value, scaled) + unit


def _with_deviation(value: float, deviation: float | None) -> str:
    """The deviation with two digits, the value as far as these reach."""
    if not deviation:
        return numbers.number(value) + ("" if deviation is None else " ± 0")
    places = 1 - math.floor(math.log10(deviation))
    if abs(places) > _PLACES:
        return f"{numbers.number(value)} ± {deviation:.2g}"
    return " ± ".join(numbers.grouped(round(part, places), max(0, places)) for part in (value, deviation))


def mean_with_interval(sample: Sample) -> str:
    """Mean over the seeds with its 95 % interval."""
    ends = mean_interval(sample)
    ends = ends if ends and ends[0] < ends[1] else None
    if ends and numbers.is_share(sample.measure):
        ends = (max(0.0, ends[0]), min(1.0, ends[1]))
    reach = (
        f" ({numbers.scalar(sample.measure, ends[0])} to {numbers.scalar(sample.measure, ends[1])})"
        if ends
        else ""
    )
    return ABSENT if sample.mean is None else f"{numbers.scalar(sample.measure, sample.mean)}{reach}"


def difference(effect: Effect) -> str:
    """Of the means with its interval; of shares in percentage points."""
    if effect.difference is None or not numbers.is_share(effect.first.measure):
        return number(effect.difference, effect.interval)
    ends = (100 * effect.interval[0], 100 * effect.interval[1]) if effect.interval else None
    return f"{number(100 * effect.difference, ends)} points"


def count(sample: Sample) -> str:
    """How many runs have a value, of how many."""
    return f"{len(sample.values)} of {sample.wanted}"


def number(value: float | None, ends: Interval | None = None) -> str:
    """Three digits, with the interval where there is one."""
    if value is None:
        return ABSENT
    interval = f" ({_rounded(ends[0])} to {_rounded(ends[1])})" if ends else ""
    return (_rounded(value) + interval).replace("-", "\N{MINUS SIGN}")


def _rounded(value: float) -> str:
    """Three digits that count; thousands as they are read, 7 120 and not 7.12e+03."""
    text = f"{value:.3g}"
    return numbers.grouped(float(text)) if "e+" in text and abs(value) < _SPELLED_OUT else text


def path(name: str) -> str:
    """A path in words."""
    return _PATHS.get(name, name)


def reachable(effects: Sequence[Effect]) -> str:
    """What p-values so many runs can reach, in a sentence; empty without tests."""
    tested = [
        effect for effect in effects if effect.least_p is not None and effect.least_adjusted is not None
    ]
    if not tested:
        return "No comparison has two runs on either side: nothing was tested."
    best = min(tested, key=lambda effect: effect.least_p or 1.0)
    runs = f"{len(best.first.values)} and {len(best.second.values)} runs"
    return (
        f"With {runs} no p-value can be below {best.least_p:.2g}, whatever the values are; corrected for the"
        f" {len(tested)} comparisons below, none can be below"
        f" {min(effect.least_adjusted or 1.0 for effect in tested):.2g}."
    )


def paths(found: Numbers) -> list[str]:
    """Names of the paths along which barriers were measured."""
    return list(dict.fromkeys(name for pair in found.joined for name in pair.barriers))


def connected(found: Numbers) -> list[Connected]:
    """For each network at all levels and each path: how many pairs it connects."""
    rows = []
    for name in paths(found):
        for sample in found.samples(BARRIER + name):
            if sample.observations:
                joined = sum(each.high <= threshold(found) for each in sample.observations)
                rows.append(Connected(sample, name, joined, share_interval(joined, len(sample.observations))))
    return rows


def threshold(found: Numbers) -> float:
    """Up to which barrier, in nats, networks count as connected."""
    return found.joined[0].threshold


def levels(chosen: Mapping[str, str]) -> str:
    """Levels of the factors."""
    return ", ".join(f"{factor} {level}" for factor, level in chosen.items())


def redo_run(found: Numbers, network: str, chosen: Mapping[str, str], seed: int) -> str:
    """The command that makes one of the study's runs anew from nothing."""
    study = found.study
    assignments = [*study.assignments, *study.assignments_of(network, chosen, seed)]
    return shlex.join(
        [
            "lossmap",
            "run",
            study.networks[network],
            *(part for each in assignments for part in ("--set", each)),
        ]
    )


def redo(summary: StudySummary) -> list[tuple[str, str]]:
    """What is redone, and by which command."""
    found, name = summary.found, shlex.quote(summary.study.name)
    commands = [
        ("everything; finished runs are kept, and only missing ones are made", "lossmap study study.yaml"),
        (
            "this page, its pictures and tables, from the finished runs",
            "lossmap study study.yaml --report-only",
        ),
        ("all scalars of all runs", f"lossmap compare --study {name} --csv"),
    ]
    for chosen in found.levels:
        if cells := found.first_cells(chosen):
            which = f" at {levels(chosen)}" if chosen else ""
            title = f"the surfaces of seed {found.study.first_seed} side by side{which}"
            commands.append((title, shlex.join(["lossmap", "compare", *(cell.run for cell in cells)])))
    for pair in found.joined:
        title = f"the paths between seeds {pair.first.seed} and {pair.second.seed} of {pair.first.label}"
        commands.append((title, shlex.join(["lossmap", "connect", pair.first.run, pair.second.run])))
    return commands
