"""The samples that a survey is evaluated on: drawn once, and kept in the store, so that nobody else reads the
whole data set.
"""

import hashlib
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lossmap.components.core.errors import DataError, StoreError
from lossmap.components.data.batches import Packed, as_inputs, load_packed, sample_indices
from lossmap.components.stores.runs import Run


def keep_samples(run: Run, split: Packed | None = None) -> None:
    """Draw the samples of a run's survey and keep them, unless the store has them.

    Args:
        run: with its data set packed.
        split: the whole split that they are drawn from, where it is in memory; else it is read.

    Raises:
        DataError: the data set has no samples in that split.
        StoreError: a shard is missing or damaged.
    """
    if not run.store.exists(run.samples):
        _write(run, _drawn(run, split))


@dataclass(frozen=True)
class SurveySamples:
    """The samples of a run's survey, as they were packed."""

    run: Run
    packed: Packed

    @property
    def places(self) -> Tensor:
        """Where they are in their split, rising."""
        return _places(self.run)

    def part(self, count: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of some of them: N x …, as a network and a loss get them. Fewer samples are a
        part of more samples.

        Args:
            count: how many, at most as many as a part of the survey asks for; all that there are where there
                are no more.
        """
        places = torch.searchsorted(_indices(self.run, self.run.most_samples), _indices(self.run, count))
        inputs, targets = (tensor[places] for tensor in self.packed)
        return as_inputs(inputs, self.run.manifest), targets


def load_survey_samples(run: Run) -> SurveySamples:
    """The samples of a run's survey. Where the store does not have them undamaged, they are drawn again.

    Raises:
        DataError: as keep_samples.
        StoreError: as keep_samples.
    """
    return SurveySamples(run, _read(run) or _write(run, _drawn(run)))


def _drawn(run: Run, split: Packed | None = None) -> Packed:
    landscape, manifest = run.experiment.landscape, run.manifest
    if not manifest.count(landscape.split):
        raise DataError(f"{manifest.source} has no {landscape.split} samples; set landscape.split=train")
    inputs, targets = split or load_packed(run.store, manifest, landscape.split)
    chosen = _places(run)
    return inputs[chosen], targets[chosen]


def _places(run: Run) -> Tensor:
    landscape = run.experiment.landscape
    start = run.manifest.rows(landscape.split, landscape.task).start
    return start + _indices(run, run.most_samples)


def _indices(run: Run, count: int) -> Tensor:
    """Places of that many samples among those that are drawn from, rising."""
    landscape = run.experiment.landscape
    rows = run.manifest.rows(landscape.split, landscape.task)
    return sample_indices(len(rows), count, landscape.seed)


def _write(run: Run, samples: Packed) -> Packed:
    tensors = _named(*samples)
    run.store.write(run.samples, save({**tensors, "sha256": _sha256(tensors)}))
    return samples


def _read(run: Run) -> Packed | None:
    """None where the samples are missing or damaged."""
    try:
        tensors = load(run.store.read(run.samples))
        digest = tensors.pop("sha256")
        whole = torch.equal(digest, _sha256(tensors))
        return (tensors["inputs"], tensors["targets"]) if whole else None
    except (SafetensorError, KeyError):
        return None
    except StoreError:
        if run.store.exists(run.samples):
            raise
        return None


def _named(inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    return {"inputs": inputs.contiguous(), "targets": targets.contiguous()}


def _sha256(tensors: dict[str, Tensor]) -> Tensor:
    return torch.tensor(list(hashlib.sha256(save(tensors)).digest()), dtype=torch.uint8)
