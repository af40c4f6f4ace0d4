"""The two networks that paths are laid between."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from lossmap.components.config.connection import Evaluation
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.manifest import Manifest, Split
from lossmap.components.core.errors import ExperimentError, StoreError
from lossmap.components.data.batches import as_inputs, epoch_order, load_packed, load_samples, sample_indices
from lossmap.components.landscape.objective import Loss, Samples, named_loss
from lossmap.components.stores import layout
from lossmap.components.stores.objects import Store
from lossmap.components.stores.runs import links, load_experiment, load_run_manifest
from lossmap.components.surveys.problems import compute_deterministically, load_network

_SPLITS: tuple[Split, ...] = ("train", "test")
_NOT_ARCHITECTURE = {"seed", "weights", "weights_sha256", "source_sha256"}


@dataclass(frozen=True)
class Ends:
    """Two runs whose networks can be connected. Experiment and manifest are the first run's; the second's
    are alike in what matters.
    """

    runs: tuple[str, str]
    trainings: tuple[str, str]
    experiment: Experiment
    manifest: Manifest


@dataclass(frozen=True)
class Networks:
    """Two trained networks of one architecture in evaluation mode, their loss, and the samples that paths
    are evaluated on, by split.
    """

    a: nn.Module
    b: nn.Module
    loss: Loss
    samples: dict[str, Samples]

    @property
    def have_batch_norm(self) -> bool:
        """Whether there are running statistics to take care of."""
        return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self.a.modules())


def find_ends(store: Store, runs: tuple[str, str]) -> Ends:
    """The trained networks of two runs.

    Raises:
        StoreError: a run is unknown or not trained.
        ExperimentError: they have other architectures, data sets or losses, or are the same network.
    """
    first, second = (load_experiment(store, run) for run in runs)
    for run in runs:
        if not store.exists(layout.run_dataset(run)) or not store.exists(
            layout.training_result(links(store, run).training)
        ):
            raise StoreError(
                f"run {run} has no trained network yet; go on with it: lossmap run --resume {run}"
            )
    manifests = [load_run_manifest(store, run) for run in runs]
    if differences := "; ".join(_differences([first, second], manifests)):
        raise ExperimentError(
            f"{runs[0]} and {runs[1]} differ in {differences}; expected one architecture and one data set"
        )
    trainings = links(store, runs[0]).training, links(store, runs[1]).training
    if trainings[0] == trainings[1]:
        raise ExperimentError(
            f"{runs[0]} and {runs[1]} have the same trained network; train another one, as with --set"
            " model.seed=1 --set training.seed=1"
        )
    return Ends(runs, trainings, first, manifests[0])


def _differences(experiments: Sequence[Experiment], manifests: Sequence[Manifest]) -> Iterator[str]:
    first, second = (
        experiment.model.model_dump(mode="json", exclude=_NOT_ARCHITECTURE) for experiment in experiments
    )
    if first["architecture"] != second["architecture"]:
        yield f"model.architecture ({first['architecture']} and {second['architecture']})"
    else:
        yield from (
            f"model.{name} ({first[name]} and {second[name]})"
            for name in first
            if first[name] != second[name]
        )
    if manifests[0].digest != manifests[1].digest:
        yield (
            "their data ("
            + " and ".join(f"{manifest.source}, digest {manifest.digest[:12]}" for manifest in manifests)
            + ")"
        )


def load_networks(store: Store, ends: Ends, evaluation: Evaluation) -> Networks:
    """Networks and samples in memory, on the device of the evaluation. Sets torch to one thread."""
    compute_deterministically()
    a, b = (load_network(store, run).eval().to(evaluation.device) for run in ends.runs)
    samples: dict[str, Samples] = {
        split: _samples(store, ends.manifest, split, evaluation)
        for split in _SPLITS
        if ends.manifest.count(split)
    }
    return Networks(a, b, named_loss(ends.experiment.loss), samples)


def _samples(store: Store, manifest: Manifest, split: Split, evaluation: Evaluation) -> Samples:
    chosen = sample_indices(manifest.count(split), evaluation.samples, evaluation.seed)
    inputs, targets = load_samples(store, manifest, split, chosen)
    return Samples(inputs.to(evaluation.device), targets.to(evaluation.device), evaluation.batch_size)


class TrainingBatches:
    """All training samples, in another order in every epoch. What is left over at the end of an epoch
    waits for the next.
    """

    def __init__(self, store: Store, manifest: Manifest, batch_size: int, device: str, seed: int):
        self._inputs, self._targets = load_packed(store, manifest, "train")
        self._size, self._manifest, self._device, self._seed = (
            min(batch_size, len(self._targets)),
            manifest,
            device,
            seed,
        )

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._targets) // self._size

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch, as the network and the loss get them."""
        order = epoch_order(len(self._targets), self._seed, number)
        for chosen in order[: len(self) * self._size].split(self._size):
            yield (
                as_inputs(self._inputs[chosen].to(self._device), self._manifest),
                self._targets[chosen].to(self._device),
            )
