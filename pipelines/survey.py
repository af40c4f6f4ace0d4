"""Surveys of networks that lossmap did not train: their experiment from the options of the command line."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossmap.components import steps
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.manifest import Manifest
from lossmap.components.config.parse import override, parse
from lossmap.components.config.settings import Settings
from lossmap.components.config.yaml_fields import check_plain
from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.lines import shown
from lossmap.components.data.files import split_key
from lossmap.components.importing.digests import with_digests
from lossmap.components.importing.places import trajectories
from lossmap.components.stores.runs import Run
from lossmap.pipelines import local
from lossmap.pipelines.stages import Stage

if TYPE_CHECKING:
    from lossmap.components.landscape.directions.invariance import Proof


@dataclass(frozen=True)
class Network:
    """What the command line says of a network.

    Attributes:
        factory: package.module:function, which returns the network, or its class.
        arguments: keyword arguments of it, as JSON.
        weights: path or URI of its weights; None for those that the factory gives.
        loss: cross-entropy, mse, or package.module:function.
        checkpoints: places of the checkpoints of its training, with labels where there are several paths.
    """

    factory: str
    arguments: str = "{}"
    weights: str | None = None
    loss: str = "cross-entropy"
    checkpoints: Sequence[str] = ()


def imported_experiment(
    network: Network,
    data: str,
    study: str,
    name: str | None,
    assignments: Sequence[str],
    others: Sequence[Run] = (),
) -> Experiment:
    """The experiment that surveys a network, with the digests of its weights and of its source. With
    checkpoints its plane is that of their path, unless the assignments say otherwise, and without weights the
    network is the last checkpoint of the first path.

    Args:
        network: what is surveyed.
        data: source of the samples.
        study: the MLflow experiment.
        name: of the experiment; without it that of the factory.
        assignments: each `path.to.field=value`, the value in YAML.
        others: one or two runs through whose networks the plane goes, unless the assignments say otherwise.
    """
    paths = trajectories(network.checkpoints)
    landscape = {"directions": "trajectory"} if paths else {}
    landscape = _through(others) if others else landscape
    model = {
        "architecture": "imported",
        "factory": network.factory,
        "arguments": factory_arguments(network.arguments),
        "weights": network.weights or (paths[0].checkpoints[-1].weights if paths else None),
        "loss": network.loss,
        "trajectories": [path.model_dump() for path in paths],
    }
    plain = parse(
        {
            "name": name or experiment_name(network.factory),
            "study": study,
            "data": {"source": data},
            "model": model,
            "landscape": landscape,
        }
    )
    return with_digests(override(plain, assignments))


def _through(others: Sequence[Run]) -> dict[str, Any]:
    """The plane through three networks with a margin of half their distance, or the line through two, as
    BatchNorm's statistics are on the paths of `lossmap connect`.
    """
    around = {"low": -0.5, "high": 1.5}
    plane = {"x": around, "y": around} if len(others) > 1 else {"x": around}
    return {
        "directions": "networks",
        "networks": [other.name for other in others],
        "plane": plane,
        "line": {**around, "points": 101},
        "batch_norm": "reestimated",
    }


def imported_run(
    experiment: Experiment, settings: Settings, stage: Stage, packed: Manifest | None = None
) -> Run:
    """A run whose network is imported and not surveyed, so that it can be connected with others. Its name
    follows from the experiment: the same network again is the same run.

    Args:
        experiment: of the network.
        settings: where things are.
        stage: opens the display of a stage, which then hears how far it is.
        packed: the data set, where it has been packed just now.
    """
    from lossmap.components.importing.network import import_network

    run = local.open_run(f"{experiment.name}-{experiment.digest()[:9]}", settings)
    with stage(experiment.name) as progress:
        steps.prepare(run, experiment, progress, packed)
        if not run.has_network():
            import_network(run, progress)
    return run


def imported_experiments(
    network: Network, files: Sequence[str], data: str, study: str, assignments: Sequence[str]
) -> list[Experiment]:
    """An experiment for each of several files of weights of one network, named like its file."""
    return [
        imported_experiment(replace(network, weights=file), data, study, file_name(file), assignments)
        for file in files
    ]


def file_name(place: str) -> str:
    """A name for experiments: of runs/epoch=3.ckpt:ema the word epoch-3-ema."""
    file, key = split_key(place)
    return experiment_name(f"{Path(file).stem} {key or ''}")


def prove_invariance(run: Run, experiment: Experiment, stage: Stage) -> "Proof":
    """Rescale a run's network and tell what each normalisation makes of it. A new run can be surveyed
    afterwards.
    """
    with stage("prepare") as progress:
        steps.prepare(run, experiment, progress)
    with stage("prove") as progress:
        return steps.prove_invariance(run, progress)


def experiment_name(factory: str) -> str:
    """A name for experiments: of package.module:make_Net the word make-net."""
    word = re.sub(r"[^a-z0-9]+", "-", factory.rpartition(":")[2].lower()).strip("-")
    return word[:40] or "network"


def factory_arguments(text: str) -> dict[str, Any]:
    """The JSON object that a factory gets as its arguments.

    Raises:
        ExperimentError: it is none.
    """
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ExperimentError(
            f"--factory-arguments is {shown(text)}, which is no JSON ({error}), expected for example"
            " '{\"num_classes\": 10}'"
        ) from None
    check_plain(arguments, "--factory-arguments")
    if not isinstance(arguments, dict):
        raise ExperimentError(
            f"--factory-arguments is {shown(text)}, expected an object such as '{{\"num_classes\": 10}}'"
        )
    return arguments
