"""The sentences, cells and rows of the tables on a study's pages."""

import math
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lossmap.components.config.study import Study
from lossmap.components.figures import numbers
from lossmap.components.studies.effects import Bounds, Effect, share_interval
from lossmap.components.studies.samples import BARRIER, Measurements, Sample
from lossmap.components.studies.summary import StudySummary

ABSENT = "\N{EM DASH}"
_PATHS = {
    "linear": "straight line",
    "aligned": "line after alignment",
    "repaired": "line after alignment and repair",
    "curve": "trained curve",
}
FINAL_LOSS = "train_loss"
_PLACES = 6  # before or after the point, beyond which as well


@dataclass(frozen=True)
class ConnectedShare:
    """How many pairs of networks a path connects.

    Attributes:
        sample: the barriers along the path.
        path: its name.
        count: how many are low enough.
        interval: 95 %, of the share.
    """

    sample: Sample
    path: str
    count: int
    interval: Bounds


def mean(sample: Sample) -> str:
    """Mean and standard deviation between seeds."""
    return mean_and_deviation(sample.measure, sample.mean, sample.deviation)


def mean_and_deviation(measure: str, value: float | None, deviation: float | None) -> str:
    """The mean of a measure with its standard deviation, where there is one; shares in percent."""
    if value is None:
        return ABSENT
    if not numbers.is_share(measure):
        return _mean_and_deviation(value, deviation)
    scaled = None if deviation is None else 100 * deviation
    return f"{_mean_and_deviation(100 * value, scaled)}\N{NARROW NO-BREAK SPACE}%"


def _mean_and_deviation(value: float, deviation: float | None) -> str:
    """The deviation with two digits, the value as far as these reach."""
    if deviation is None:
        return numbers.number(value)
    if not deviation:
        return f"{numbers.number(value)} ± 0"
    places = 1 - math.floor(math.log10(deviation))
    if abs(places) > _PLACES:
        return f"{numbers.number(value)} ± {deviation:.2g}"
    return " ± ".join(
        numbers.with_thousands(round(part, places), max(0, places)) for part in (value, deviation)
    )


def mean_with_interval(sample: Sample) -> str:
    """Mean over the seeds with its 95 % interval, or the range of the runs."""
    if sample.mean is None:
        return ABSENT
    value, estimate = numbers.scalar(sample.measure, sample.mean), sample.estimate
    if estimate is None or estimate.low is None or estimate.low == estimate.high:
        return value
    return f"{value} ({numbers.ends(sample.measure, estimate, 'runs')})"


def difference(effect: Effect) -> str:
    """Of the means with its interval; of shares in percentage points."""
    if effect.difference is None or not numbers.is_share(effect.first.measure):
        return number(effect.difference, effect.interval)
    bounds = None
    if effect.interval:
        bounds = (100 * effect.interval[0], 100 * effect.interval[1])
    return f"{number(100 * effect.difference, bounds)} points"


def count(sample: Sample) -> str:
    """How many runs have a value, of how many."""
    return f"{len(sample.values)} of {sample.planned_size}"


def number(value: float | None, interval: Bounds | None = None) -> str:
    """Three digits, with the interval where there is one."""
    if value is None:
        return ABSENT
    text = numbers.three_digits(value)
    if interval:
        text += f" ({numbers.three_digits(interval[0])} to {numbers.three_digits(interval[1])})"
    return text.replace("-", "\N{MINUS SIGN}")


def path(name: str) -> str:
    """The name of a path, spelled out."""
    return _PATHS.get(name, name)


def least_p_values(effects: Sequence[Effect]) -> str:
    """What p-values so many runs can reach, in a sentence."""
    tested = [
        effect for effect in effects if effect.least_p is not None and effect.least_adjusted_p is not None
    ]
    if not tested:
        return "No comparison has two runs on either side: nothing was tested."
    best = min(tested, key=lambda effect: effect.least_p or 1.0)
    runs = f"{len(best.first.values)} and {len(best.second.values)} runs"
    least_adjusted_p = min(effect.least_adjusted_p or 1.0 for effect in tested)
    below = "comparison" if len(tested) == 1 else f"{len(tested)} comparisons"
    return (
        f"With {runs} no p-value can be below {best.least_p:.2g}, whatever the values are; corrected for the"
        f" {below} below, none can be below {least_adjusted_p:.2g}."
    )


def paths(measurements: Measurements) -> list[str]:
    """Names of the paths along which barriers were measured."""
    return list(dict.fromkeys(name for pair in measurements.pairs for name in pair.barriers))


def connected_shares(measurements: Measurements) -> list[ConnectedShare]:
    """For each network at all levels and each path: how many pairs it connects; of no path where nobody has
    said which barrier is low.
    """
    limit = threshold(measurements)
    if limit is None:
        return []
    samples = [
        (name, sample) for name in paths(measurements) for sample in measurements.samples(BARRIER + name)
    ]
    return [_connected_share(name, sample, limit) for name, sample in samples if sample.observations]


def _connected_share(path: str, sample: Sample, threshold: float) -> ConnectedShare:
    count = sum(observation.high <= threshold for observation in sample.observations)
    return ConnectedShare(sample, path, count, share_interval(count, len(sample.observations)))


def threshold(measurements: Measurements) -> float | None:
    """Up to which barrier networks count as connected; None where nobody has said so."""
    return measurements.pairs[0].threshold


def unit(measurements: Measurements) -> str:
    """Of the barriers."""
    losses = {pair.first.experiment.loss for pair in measurements.pairs}
    return "nats" if losses == {"cross-entropy"} else "units of the loss"


def levels(chosen: Mapping[str, str]) -> str:
    """Levels of the factors."""
    return ", ".join(f"{factor} {level}" for factor, level in chosen.items())


def run_command(study: Study, network: str, chosen: Mapping[str, str], seed: int) -> str:
    """The command that makes one of the study's runs anew from nothing."""
    words = ["lossmap", "run", study.networks[network]]
    for assignment in (*study.assignments, *study.assignments_of(network, chosen, seed)):
        words += ["--set", assignment]
    return shlex.join(words)


def compare_command(runs: Iterable[str]) -> str:
    """The command that shows runs side by side."""
    return shlex.join(["lossmap", "compare", *runs])


def commands(summary: StudySummary) -> Iterator[tuple[str, str]]:
    """What can be redone, and by which command."""
    measurements, name = summary.measurements, shlex.quote(summary.study.name)
    yield "everything; finished runs are kept, and only missing ones are made", "lossmap study study.yaml"
    yield (
        "this page, its pictures and tables, from the finished runs",
        "lossmap study study.yaml --report-only",
    )
    yield "all scalars of all runs", f"lossmap compare --study {name} --csv"
    for chosen in measurements.levels:
        if cells := measurements.first_cells(chosen):
            place = f" at {levels(chosen)}" if chosen else ""
            title = f"the surfaces of seed {summary.study.first_seed} side by side{place}"
            yield title, compare_command(cell.run for cell in cells)
    for pair in measurements.pairs:
        title = f"the paths between seeds {pair.first.seed} and {pair.second.seed} of {pair.first.label}"
        yield title, shlex.join(["lossmap", "connect", pair.first.run, pair.second.run])
