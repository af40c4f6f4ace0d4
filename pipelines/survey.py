"""Surveys of networks that lossmap did not train: their experiment from the options of the command line."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lossmap.components import steps
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.parse import override, parse
from lossmap.components.core.errors import ExperimentError
from lossmap.components.importing.digests import with_digests
from lossmap.components.importing.places import trajectories
from lossmap.components.stores.runs import Run
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
    network: Network, data: str, study: str, name: str | None, assignments: Sequence[str]
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
    """
    paths = trajectories(network.checkpoints)
    model = {
        "architecture": "imported",
        "factory": network.factory,
        "arguments": _arguments(network.arguments),
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
            "landscape": {"directions": "trajectory"} if paths else {},
        }
    )
    return with_digests(override(plain, assignments))


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


def _arguments(text: str) -> dict[str, Any]:
    try:
        arguments = json.loads(text)
    except json.JSONDecodeError as error:
        raise ExperimentError(
            f"--factory-arguments is {text!r}, which is no JSON ({error}), expected for example"
            " '{\"num_classes\": 10}'"
        ) from None
    if not isinstance(arguments, dict):
        raise ExperimentError(
            f"--factory-arguments is {text!r}, expected an object such as '{{\"num_classes\": 10}}'"
        )
    return arguments
