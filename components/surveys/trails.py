"""The paths of weights that a survey shows on its plane, and their snapshots in the store."""

from collections.abc import Iterator

from torch import Tensor

from lossmap.components.config.models import Imported
from lossmap.components.core.errors import ExperimentError, LossmapError
from lossmap.components.stores import layout
from lossmap.components.stores.documents import load_tensors
from lossmap.components.stores.objects import Store
from lossmap.components.stores.runs import Run
from lossmap.components.stores.survey_plan import Trail


def trails(run: Run) -> tuple[Trail, ...]:
    """Those that were imported with the run's network, its own training's where the plane is made of it or
    others are shown, and those of other runs.

    Raises:
        LossmapError: another run has another network, or no path, or one that is shown already.
    """
    landscape, found = run.experiment.landscape, list(_own(run))
    if not (
        landscape.directions == "trajectory" or landscape.paths or isinstance(run.experiment.model, Imported)
    ):
        return ()
    for name in landscape.paths:
        found += _of_another(run, Run(run.store, name))
    places = [(trail.training, trail.number) for trail in found]
    twice = next((trail for trail, place in zip(found, places, strict=True) if places.count(place) > 1), None)
    if twice:
        raise ExperimentError(
            f"landscape.paths has {list(landscape.paths)}, and two of these runs, or one of them and"
            f" {run.name}, share one training ({twice.training[:12]}); name each path once"
        )
    if len(found) == 1:
        return (found[0].model_copy(update={"label": ""}),)
    return tuple(found)


def snapshot_epochs(store: Store, trail: Trail) -> list[int]:
    """Epochs, or numbers of checkpoints, of the snapshots that there are."""
    prefix = layout.snapshots(trail.training, trail.number)
    return [int(key.removeprefix(prefix).removesuffix(".safetensors")) for key in store.keys(prefix)]


def load_snapshot(store: Store, trail: Trail, epoch: int) -> dict[str, Tensor]:
    """Parameters and buffers of a snapshot."""
    return load_tensors(store, layout.snapshot(trail.training, epoch, trail.number))


def _own(run: Run) -> Iterator[Trail]:
    model = run.experiment.model
    if not isinstance(model, Imported):
        yield Trail(training=run.training, label=run.name)
        return
    for number, path in enumerate(model.trajectories):
        yield Trail(
            training=run.training,
            number=number,
            label=path.label or run.name,
            checkpoints=tuple(checkpoint.name for checkpoint in path.checkpoints),
        )


def _of_another(run: Run, other: Run) -> list[Trail]:
    own = _own(other) if other.has_data() and other.has_network() else ()
    found = [trail for trail in own if snapshot_epochs(run.store, trail)]
    if not found:
        raise LossmapError(
            f"landscape.paths names {other.name} ({other.experiment.model.architecture}), which has no path"
            " of training; name a finished run with training.trajectory_every, or one that was surveyed with"
            " --checkpoints"
        )
    shapes = [
        {name: tensor.shape for name, tensor in load_tensors(run.store, layout.weights(training)).items()}
        for training in (run.training, other.training)
    ]
    if shapes[0] != shapes[1]:
        raise LossmapError(
            f"landscape.paths names {other.name}, which has another network than {run.name}, expected the"
            " same architecture and size; name runs whose model is equal"
        )
    return [trail.model_copy(update={"label": _label(trail, other)}) for trail in found]


def _label(trail: Trail, run: Run) -> str:
    return trail.label if trail.label == run.name else f"{trail.label} of {run.name}"
