"""Studies by name, each at three scales: digits in minutes to hours on two cores, cifar10 on CPU pods, gpu at
the papers' schedules. The usual scale is digits; of slides it is cifar10, which takes hours on two cores.

What is said in a statement was written down before the runs. With n seeds of each network a permutation
test's p-value is at least 2 / C(2n, n): 0.1 for three, 0.008 for five; and it is corrected for all comparing
statements at all levels. So there are few of these.
"""

import difflib
from collections.abc import Callable, Sequence
from itertools import product

from lossmap.components.config.study import Contrast, Statement, Study
from lossmap.components.config.study_file import parse_study, parse_study_yaml
from lossmap.components.core.errors import ExperimentError
from lossmap.pipelines.recipes.resolve import read_file

SCALES = {"digits": "digits-{}", "cifar10": "cifar10-{}-cpu", "gpu": "cifar10-{}"}
_USUAL_SCALES = {"slides": "cifar10"}
_LI = "Li et al. 2018"
_SLIDES = "course slides"
_KAISER = "Kaiser et al. 2017, section 3.2"
_SHAZEER = "Shazeer et al. 2017, table 6"
# A cell takes one core, so that cells run beside each other. BatchNorm then sees whole batches, not the
# halves of two processes.
_ONE_CORE = ("training.processes=1", "landscape.workers=1")
# Two pairs of directions, a quarter of the recipes' samples, half of their line, and no product that the
# Hessian's ends do not need.
_SHALLOW = (
    *_ONE_CORE,
    "landscape.pairs=2",
    "landscape.samples=128",
    "landscape.line.points=51",
    "landscape.adaptive.tolerance=0.02",
    "landscape.adaptive.held_out=20",
    "landscape.curvature.samples=64",
    "landscape.curvature.tolerance=0.05",
    "landscape.curvature.trace_products=4",
)
_COARSE = (
    *_ONE_CORE,
    "landscape.pairs=1",
    "landscape.samples=256",
    "landscape.line.points=51",
    "landscape.plane.x.points=11",
    "landscape.plane.y.points=11",
    "landscape.adaptive=null",
    "landscape.curvature=null",
)

# For few epochs: every image, a rate that rises for a fifth of them and then falls to zero; BatchNorm sees
# whole batches.
_ONE_CYCLE = (
    "data.limit=null",
    "training.epochs=10",
    "training.schedule.shape=linear",
    "training.schedule.warmup_epochs=2",
    "training.processes=1",
    "training.threads=2",
)
_PAPERS_PLANE = (
    "landscape.pairs=2",
    "landscape.samples=1000",
    "landscape.plane.x.points=51",
    "landscape.plane.y.points=51",
    "landscape.line.points=101",
)


def load(
    target: str,
    scale: str | None,
    assignments: Sequence[str],
    seeds: int | None,
    first_seed: int | None = None,
) -> Study:
    """A named study, or that of a YAML file, with some things changed.

    Args:
        target: name or path.
        scale: of a named study; its usual one without it.
        assignments: set in every cell, after the study's own and before those of a network or a level.
        seeds: how many, in place of the study's.
        first_seed: of these, in place of the study's.

    Raises:
        ExperimentError: there is no such study, or it cannot be run as it is written.
    """
    if target.endswith((".yaml", ".yml")):
        study = _from_file(target, scale)
    else:
        study = _named(target, scale or _usual_scale(target))
    changed = {
        "assignments": [*study.assignments, *assignments],
        "seeds": seeds or study.seeds,
        "first_seed": study.first_seed if first_seed is None else first_seed,
    }
    return parse_study({**study.model_dump(mode="json"), **changed})


def _from_file(target: str, scale: str | None) -> Study:
    if scale:
        raise ExperimentError(f"--scale is {scale}, expected none for a file: it is for {', '.join(STUDIES)}")
    return parse_study_yaml(read_file(target), target)


def _named(name: str, scale: str) -> Study:
    if name not in STUDIES:
        near = difflib.get_close_matches(name, STUDIES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected {', '.join(STUDIES)}, or a .yaml file"
        raise ExperimentError(f"there is no study {name}; {hint}")
    if scale not in SCALES:
        raise ExperimentError(f"--scale is {scale}, expected one of {', '.join(SCALES)}")
    return STUDIES[name](scale)


def lesson(scale: str) -> Study:
    """From softmax regression to networks of experts: what is convex, what is rough, and what shortcuts
    change.
    """
    pair = ("resnet56-noshort", "resnet56")
    others = ("mlp", *pair, "densenet", "moe", "multimodel")
    return Study(
        name=_title("lesson", scale),
        title=(
            "Why does training succeed? Convexity, roughness and basins from a linear model to mixtures of"
            " experts"
        ),
        networks=_recipes(scale, "linear", *others),
        assignments=_SHALLOW if scale == "digits" else (),
        seeds=5,
        measures=(
            "test_error",
            "train_loss",
            "line_convex_fraction",
            "basin_fraction",
            "floor",
            "line_roughness",
            "line_fall",
            "minima",
            "largest_persistence",
            "hessian_largest",
            "hessian_negative_to_positive",
        ),
        contrasts=(
            Contrast(network=pair[0], against=pair[1]),
            *(Contrast(network=other, against="linear") for other in others),
        ),
        statements=(
            _linear_is_convex(),
            _statement(
                "The loss of a realistic network is not convex: a perceptron's Hessian has a negative"
                " eigenvalue",
                _SLIDES,
                "somewhere-below",
                "hessian_smallest",
                "mlp",
                0,
            ),
            _not_convex_without_shortcuts("resnet56-noshort"),
            _statement(
                "Without shortcuts the loss is less often convex along a line",
                f"{_SLIDES}; {_LI}, figure 1",
                "less",
                "line_convex_fraction",
                "resnet56-noshort",
                "resnet56",
            ),
            _statement(
                "Without shortcuts the loss is rougher",
                f"{_SLIDES}; {_LI}, figure 1",
                "greater",
                "line_roughness",
                "resnet56-noshort",
                "resnet56",
            ),
            _statement(
                "Without shortcuts negative curvature is larger, compared with positive curvature",
                f"{_LI}, figure 7",
                "greater",
                "hessian_negative_to_positive",
                "resnet56-noshort",
                "resnet56",
            ),
            _statement(
                "Shortcuts lead to better answers on new data",
                _LI,
                "greater",
                "test_error",
                "resnet56-noshort",
                "resnet56",
            ),
            _statement(
                "Without shortcuts the loss has several minima on the plane, so that it is chaotic",
                f"{_LI}, figure 1",
                "always-at-least",
                "minima",
                "resnet56-noshort",
                2,
            ),
        ),
    )


def depth(scale: str) -> Study:
    """When does the chaos appear: depth, shortcuts, length of training and learning rate."""
    short, long = {"digits": (4, 12), "cifar10": (3, 10), "gpu": (30, 164)}[scale]
    return Study(
        name=_title("depth", scale),
        title="When does the loss of a network without shortcuts become chaotic?",
        networks=_recipes(scale, "resnet20-noshort", "resnet20", labels=("noshort", "shortcuts")),
        factors={
            "depth": _depths(20, 32, 56, 110),
            "epochs": {"short": _trained_for(short, scale), "long": _trained_for(long, scale)},
            "rate": {
                "low": ("training.optimizer.learning_rate=0.01",),
                "high": ("training.optimizer.learning_rate=0.1",),
            },
        },
        assignments=_SHALLOW if scale == "digits" else (),
        seeds=3,
        measures=(
            "test_error",
            "train_error",
            "train_loss",
            "line_convex_fraction",
            "basin_fraction",
            "line_roughness",
            "line_fall",
            "minima",
            "hessian_negative_to_positive",
        ),
        contrasts=(Contrast(network="noshort", against="shortcuts"),),
        statements=(
            _statement(
                "Without shortcuts the loss is not convex along some line",
                f"{_LI}, figure 5",
                "somewhere-below",
                "line_convex_fraction",
                "noshort",
                0.95,
            ),
            _statement(
                "With shortcuts it is convex along every line",
                f"{_LI}, figure 5",
                "always-at-least",
                "line_convex_fraction",
                "shortcuts",
                0.95,
            ),
            _statement(
                "Without shortcuts training fails",
                "He et al. 2016, section 4.1",
                "always-at-least",
                "train_error",
                "noshort",
                0.5,
            ),
        ),
    )


def shortcuts(scale: str) -> Study:
    """What `depth` showed at the digits' scale where both networks learn, tested with seeds that it did not
    have.

    Depth had three seeds of each network, too few for any test. After the recipe's training, 20 and 32 layers
    without shortcuts had 0 to 3 % training errors, and lines that are convex along 92 % and 69 %; with
    shortcuts they were convex along 100 % and 99 %.
    """
    statements = [
        _statement(
            "The network learns",
            "so that the comparison is not one with a network that was not trained",
            "often-at-most",
            "train_error",
            network,
            0.05,
        )
        for network in ("noshort", "shortcuts")
    ]
    compared = {
        "Without shortcuts the loss is less often convex along a line": ("less", "line_convex_fraction"),
        "Without shortcuts the loss falls more on a walk outwards along a line": ("greater", "line_fall"),
        "Without shortcuts the plane has more minima": ("greater", "minima"),
    }
    statements += [
        _statement(text, "study depth, seeds 0 to 2", rule, measure, "noshort", "shortcuts")
        for text, (rule, measure) in compared.items()
    ]
    return Study(
        name=_title("shortcuts", scale),
        title=(
            "Where networks with and without shortcuts both learn, is there still a difference between their"
            " losses?"
        ),
        networks=_recipes(scale, "resnet20-noshort", "resnet20", labels=("noshort", "shortcuts")),
        factors={"depth": _depths(20, 32)},
        assignments=_SHALLOW if scale == "digits" else (),
        seeds=10,
        first_seed=100,
        measures=(
            "test_error",
            "train_error",
            "train_loss",
            "line_convex_fraction",
            "line_fall",
            "minima",
            "line_roughness",
            "basin_fraction",
        ),
        contrasts=(Contrast(network="noshort", against="shortcuts"),),
        statements=tuple(statements),
    )


def equal_loss(scale: str) -> Study:
    """Whether what `shortcuts` showed is there because networks with shortcuts end in deeper minima: they are
    stopped before that.

    In `shortcuts`, seeds 100 to 109, 20 and 32 layers without shortcuts ended at training losses of 0.0034
    and 0.08, with them at 0.0004 and 0.0006. Trained for 2, 3 and 5 epochs instead of 12, those with
    shortcuts ended at 0.11, 0.027 and 0.0045 (20 layers), and 0.79, 0.046 and 0.0086 (32): means of seeds 0
    to 2, which nothing but the training losses and errors was looked at of.
    """
    lengths = (20, 40, 80) if scale == "gpu" else (2, 3, 5)
    brief = {f"shortcuts-{length}": length for length in lengths}
    statements = []
    for network, length in brief.items():
        still = {
            f"With shortcuts, {length} epochs lead to a higher training loss": ("greater", "train_loss"),
            f"With shortcuts, the loss is more often convex along a line after {length} epochs": (
                "greater",
                "line_convex_fraction",
            ),
            f"With shortcuts, the plane has fewer minima after {length} epochs": ("less", "minima"),
        }
        statements += [
            _statement(text, "study shortcuts, seeds 100 to 109", rule, measure, network, "noshort")
            for text, (rule, measure) in still.items()
        ]
    return Study(
        name=_title("equal-loss", scale),
        title="With shortcuts, is the loss more often convex because its minimum is deeper?",
        networks=_recipes(
            scale, "resnet20-noshort", *("resnet20" for _ in brief), labels=("noshort", *brief)
        ),
        network_assignments={network: _trained_for(length, scale) for network, length in brief.items()},
        factors={"depth": _depths(20, 32)},
        assignments=_SHALLOW if scale == "digits" else (),
        seeds=10,
        first_seed=200,
        measures=(
            "test_error",
            "train_error",
            "train_loss",
            "line_convex_fraction",
            "line_fall",
            "minima",
            "basin_fraction",
        ),
        contrasts=tuple(Contrast(network=network, against="noshort") for network in brief),
        statements=tuple(statements),
    )


def minima(scale: str) -> Study:
    """One network, many seeds: how good are the minima, and are they connected?"""
    networks = ("mlp", "resnet20")
    statements = []
    for network in networks:
        statements += [
            _statement(
                "We find a minimum that is nearly as good as any",
                _SLIDES,
                "often-at-most",
                "train_error",
                network,
                0.01,
            ),
            _statement(
                "A straight line connects minima",
                "the contrary is said in Garipov et al. 2018",
                "often-at-most",
                "barrier_linear",
                network,
                0.05,
            ),
            _statement(
                "Minima are connected, once their channels are ordered alike",
                "Entezari et al. 2022; Ainsworth et al. 2023",
                "often-at-most",
                "barrier_repaired",
                network,
                0.05,
            ),
            _statement(
                "A simple curve connects minima",
                "Garipov et al. 2018; Draxler et al. 2018",
                "often-at-most",
                "barrier_curve",
                network,
                0.05,
            ),
        ]
    return Study(
        name=_title("minima", scale),
        title="Why do we succeed in finding good local minima?",
        networks=_recipes(scale, *networks),
        assignments=_COARSE if scale == "digits" else (),
        seeds=10,
        measures=("train_loss", "train_error", "test_error", "floor", "basin_fraction"),
        contrasts=(Contrast(network="resnet20", against="mlp"),),
        statements=tuple(statements),
        connections=6,
    )


def batch(scale: str) -> Study:
    """Small against large batches, with and without weight decay, in pictures with and without
    normalisation.
    """
    networks = {"small": "vgg9", "large": "vgg9-large-batch" if scale == "gpu" else "vgg9"}
    sizes = {"digits": (32, 512), "cifar10": (128, 2048)}.get(scale)
    own = {}
    if sizes:
        own = {"small": (f"training.batch_size={sizes[0]}",), "large": (f"training.batch_size={sizes[1]}",)}
    axes, ends = ("line", "plane.x", "plane.y"), ("low=-0.05", "high=0.05")
    raw = (
        "landscape.normalization=none",
        *(f"landscape.{axis}.{end}" for axis, end in product(axes, ends)),
    )
    return Study(
        name=_title("batch", scale),
        title="Do large batches find sharp minima, or do pictures without normalisation only say so?",
        networks={label: SCALES[scale].format(network) for label, network in networks.items()},
        network_assignments=own,
        factors={
            "decay": {
                "none": ("training.optimizer.weight_decay=0",),
                "decay": ("training.optimizer.weight_decay=5e-4",),
            },
            "directions": {"raw": raw, "filter": ("landscape.normalization=filter",)},
        },
        assignments=(*_SHALLOW, "training.epochs=20") if scale == "digits" else (),
        seeds=6,
        measures=(
            "test_error",
            "train_loss",
            "line_rise",
            "hessian_largest",
            "hessian_trace",
            "basin_fraction",
        ),
        contrasts=(Contrast(network="large", against="small"),),
        statements=(
            _statement(
                "The minimum of the large batch looks sharper in this picture",
                f"Keskar et al. 2017; {_LI}, figures 2 and 4, say that it depends",
                "greater",
                "line_rise",
                "large",
                "small",
            ),
            _statement(
                "The large batch answers worse on new data",
                "Keskar et al. 2017",
                "greater",
                "test_error",
                "large",
                "small",
            ),
        ),
    )


def experts(scale: str) -> Study:
    """Balance losses against none, as table 6 of Shazeer et al. 2017."""
    weights = {
        "none": (0, 0),
        "importance": (0.2, 0),
        "load": (0, 0.2),
        "both": (0.1, 0.1),
        "both-weak": (0.01, 0.01),
        "both-strong": (1, 1),
    }
    networks = {label: SCALES[scale].format("moe") for label in weights}
    return Study(
        name=_title("experts", scale),
        title="Do the balance losses spread the inputs over the experts, and what does that cost?",
        networks=networks,
        network_assignments={
            label: (f"model.experts.importance_weight={importance}", f"model.experts.load_weight={load}")
            for label, (importance, load) in weights.items()
        },
        assignments=_COARSE if scale == "digits" else (),
        seeds=5,
        measures=("test_error", "importance_cv", "load_cv", "load_max_over_mean"),
        contrasts=tuple(Contrast(network=label, against="none") for label in weights if label != "none"),
        statements=(
            _statement(
                "The balance losses spread the inputs over the experts",
                _SHAZEER,
                "less",
                "load_max_over_mean",
                "both",
                "none",
            ),
            _statement("Balanced experts answer better", _SHAZEER, "less", "test_error", "both", "none"),
        ),
    )


def tasks(scale: str) -> Study:
    """MultiModel on all its tasks against MultiModel on each alone, as tables 2 and 3 of Kaiser et al.
    2017.
    """
    names = ("images" if scale != "digits" else "digits-images", "digits-tokens", "breast-cancer")
    alone = {f"{name}-alone": name for name in names}
    return Study(
        name=_title("tasks", scale),
        title="Does one network learn several tasks better than one network for each?",
        networks=dict.fromkeys(("together", *alone), SCALES[scale].format("multimodel")),
        network_assignments={label: (f"data.tasks=[{name}]",) for label, name in alone.items()},
        assignments=_COARSE if scale == "digits" else (),
        seeds=5,
        measures=tuple(f"test_error.{name}" for name in names),
        contrasts=tuple(Contrast(network="together", against=label) for label in alone),
        statements=tuple(
            _statement(
                f"The task {name} is learnt better together with the others",
                _KAISER,
                "less",
                f"test_error.{name}",
                "together",
                label,
            )
            for label, name in alone.items()
        ),
    )


def slides(scale: str) -> Study:
    """The slides' own picture: softmax regression, and ResNet-56 without and with shortcuts, on CIFAR-10.

    All have one budget: every training image, real crops and flips, ten epochs in one cycle, one process, so
    that BatchNorm sees whole batches. The planes have the papers' range and resolution. Networks whose label
    ends in -path are those of the same trainings, on the planes of their paths.
    """
    plain, with_shortcuts = "noshort", "shortcuts"
    paths = {f"{plain}-path": "resnet56-noshort", f"{with_shortcuts}-path": "resnet56"}
    own = {"digits": _SHALLOW, "cifar10": (*_ONE_CYCLE, *_PAPERS_PLANE), "gpu": _PAPERS_PLANE}
    trained = ("Training succeeds", "so that it is known whether the comparison is one of trained networks")
    statements = [
        _statement(*trained, "always-at-most", "train_error", network, 0.5)
        for network in (plain, with_shortcuts)
    ]
    statements += [
        _linear_is_convex(),
        _not_convex_without_shortcuts(plain),
        _statement(
            "With shortcuts it is convex along every line",
            f"{_LI}, figure 1",
            "always-at-least",
            "line_convex_fraction",
            with_shortcuts,
            0.95,
        ),
        _statement(
            "Without shortcuts the loss has several minima on the plane, so that it is chaotic",
            f"{_SLIDES}; {_LI}, figure 1",
            "always-at-least",
            "minima",
            plain,
            2,
        ),
        _statement(
            "With shortcuts the loss has one minimum on the plane",
            f"{_SLIDES}; {_LI}, figure 1",
            "always-at-most",
            "minima",
            with_shortcuts,
            1,
        ),
    ]
    compared = {
        "Without shortcuts the loss is less often convex along a line": ("less", "line_convex_fraction"),
        "Without shortcuts the loss is rougher": ("greater", "line_roughness"),
        "Without shortcuts negative curvature is larger, compared with positive curvature": (
            "greater",
            "hessian_negative_to_positive",
        ),
        "Shortcuts lead to better answers on new data": ("greater", "test_error"),
    }
    statements += [
        _statement(text, f"{_SLIDES}; {_LI}, figures 1 and 7", rule, measure, plain, with_shortcuts)
        for text, (rule, measure) in compared.items()
    ]
    statements += [
        _statement(
            "Two dimensions hold at least 40 % of the path of training",
            f"{_LI}, section 7",
            "always-at-least",
            "trajectory_explained",
            network,
            0.4,
        )
        for network in paths
    ]
    return Study(
        name=_title("slides", scale),
        title="ResNet-56 on CIFAR-10: what do its shortcuts change?",
        networks={
            **_recipes(scale, "linear", *paths.values(), labels=("linear", plain, with_shortcuts)),
            **_recipes(scale, *paths.values(), labels=tuple(paths)),
        },
        network_assignments=dict.fromkeys(
            paths, ("landscape.directions=trajectory", "landscape.curvature=null")
        ),
        assignments=own[scale],
        seeds=3,
        measures=(
            "test_error",
            "train_error",
            "train_loss",
            "line_convex_fraction",
            "line_roughness",
            "line_fall",
            "minima",
            "basin_fraction",
            "hessian_largest",
            "hessian_negative_to_positive",
            "trajectory_explained",
        ),
        contrasts=(Contrast(network=plain, against=with_shortcuts),),
        statements=tuple(statements),
    )


def _statement(
    text: str, source: str, rule: str, measure: str, network: str, other: str | float
) -> Statement:
    """`other` is the network that it is compared with, or the bound."""
    other_side = {"against": other} if isinstance(other, str) else {"bound": other}
    return Statement.model_validate(
        {"text": text, "source": source, "rule": rule, "measure": measure, "network": network, **other_side}
    )


def _linear_is_convex() -> Statement:
    return _statement(
        "The loss of a linear model is convex",
        _SLIDES,
        "always-at-least",
        "line_convex_fraction",
        "linear",
        0.999,
    )


def _not_convex_without_shortcuts(network: str) -> Statement:
    return _statement(
        "The loss of a realistic network is not convex: along some line without shortcuts",
        _SLIDES,
        "somewhere-below",
        "line_convex_fraction",
        network,
        0.999,
    )


def _depths(*layers: int) -> dict[str, tuple[str, ...]]:
    return {f"d{number}": (f"model.depth={number}",) for number in layers}


def _trained_for(epochs: int, scale: str) -> tuple[str, ...]:
    """What a cell sets to be trained for so long; where the rate falls by steps, these are at a half and
    three quarters.
    """
    length = f"training.epochs={epochs}"
    if scale != "gpu":
        return (length,)
    return length, f"training.schedule.milestones=[{epochs / 2:g}, {epochs * 3 / 4:g}]"


def _title(name: str, scale: str) -> str:
    return name if scale == _usual_scale(name) else f"{name}-{scale}"


def _usual_scale(name: str) -> str:
    return _USUAL_SCALES.get(name, "digits")


def _recipes(scale: str, *networks: str, labels: Sequence[str] = ()) -> dict[str, str]:
    recipes = [SCALES[scale].format(network) for network in networks]
    return dict(zip(labels or networks, recipes, strict=True))


STUDIES: dict[str, Callable[[str], Study]] = {
    "lesson": lesson,
    "depth": depth,
    "shortcuts": shortcuts,
    "equal-loss": equal_loss,
    "minima": minima,
    "batch": batch,
    "experts": experts,
    "tasks": tasks,
    "slides": slides,
}
