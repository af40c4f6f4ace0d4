"""The survey of a trained network: plan its points, and make the surface that they are evaluated on.

A surface is addressed by what decides its values: weights, directions, data and evaluation settings. Its tiles are immutable, so that
an interrupted, a finer or a wider survey of the same surface evaluates only the points that are not there yet.
"""

import hashlib
from collections.abc import Mapping

import torch
from safetensors.torch import load, save
from torch import Tensor

from lossmap.components.config.experiment import Experiment, canonical_json
from lossmap.components.config.manifest import Manifest
from lossmap.components.data.batches import load_images, normalize, sample_indices
from lossmap.components.landscape.directions import normalized_direction
from lossmap.components.landscape.fold import Directions, fold_batch_norm
from lossmap.components.landscape.merge import missing_points
from lossmap.components.landscape.surface import Evaluator
from lossmap.components.landscape.tiles import Survey, cut, evaluated_points, load_survey, save_survey
from lossmap.components.models import build
from lossmap.components.stores import layout
from lossmap.components.stores.objects import Store
from lossmap.components.stores.runs import links, load_experiment, load_run_manifest

# Part of every surface's address: raise it when the same settings begin to give other values.
_EVALUATION = 1


def plan(store: Store, run_id: str) -> Survey:
    """Make the directions, address the surface, and cut the points that nobody has evaluated yet into tiles."""
    experiment, manifest = load_experiment(store, run_id), load_run_manifest(store, run_id)
    weights = store.read(layout.weights(links(store, run_id).training))
    directions = _directions(load(weights), experiment, manifest)
    surface = _address(weights, directions, experiment, manifest)
    store.write(layout.directions(surface), directions)
    missing = missing_points(experiment.landscape, evaluated_points(store, surface))
    survey = Survey(surface=surface, tiles=cut(missing, experiment.landscape.tile_points))
    save_survey(store, run_id, survey)
    return survey


def evaluator(store: Store, run_id: str) -> Evaluator:
    """The run's surface as a function: network, weights, directions and samples in memory. Sets torch to one thread."""
    torch.set_num_threads(1)
    torch.set_deterministic_debug_mode("error")  # as use_deterministic_algorithms(True), which imports torch.compile for seconds
    experiment, manifest = load_experiment(store, run_id), load_run_manifest(store, run_id)
    landscape, device = experiment.landscape, experiment.landscape.device
    network = build(experiment.model, manifest)
    network.load_state_dict(load(store.read(layout.weights(links(store, run_id).training))))
    stored = load(store.read(layout.directions(load_survey(store, run_id).surface)))
    directions: Directions = (_axis(stored, "x"), _axis(stored, "y"))
    if landscape.batch_norm == "frozen":
        directions = fold_batch_norm(network, directions)
    images = load_images(store, manifest, landscape.split)
    chosen = sample_indices(len(images), landscape.samples, landscape.seed)
    return Evaluator(
        network.to(device),
        directions,
        normalize(images.pixels[chosen], manifest).to(device, memory_format=torch.channels_last),
        images.labels[chosen].to(device),
        landscape.batch_norm,
        landscape.batch_size,
    )


def _directions(state: Mapping[str, Tensor], experiment: Experiment, manifest: Manifest) -> bytes:
    """The two directions as safetensors `x/<parameter>` and `y/<parameter>`, float32."""
    weights = {name: state[name] for name, _ in build(experiment.model, manifest).named_parameters()}
    axes = {axis: normalized_direction(weights, axis, experiment.landscape) for axis in ("x", "y")}
    return save({f"{axis}/{name}": value.float().contiguous() for axis, direction in axes.items() for name, value in direction.items()})


def _axis(directions: Mapping[str, Tensor], axis: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{axis}/"): value for name, value in directions.items() if name.startswith(f"{axis}/")}


def _address(weights: bytes, directions: bytes, experiment: Experiment, manifest: Manifest) -> str:
    settings = experiment.landscape.model_dump(include={"split", "samples", "batch_norm", "batch_size", "device", "seed"})
    parts = {
        "weights": hashlib.sha256(weights).hexdigest(),
        "directions": hashlib.sha256(directions).hexdigest(),
        "data": manifest.digest,
        "model": experiment.model.model_dump(mode="json"),
        "settings": settings,
        "torch": torch.__version__,
        "evaluation": _EVALUATION,
    }
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()
