"""The two networks that paths are laid between."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from lossmap.components.config.connection import Evaluation
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.manifest import Manifest
from lossmap.components.config.models import Imported
from lossmap.components.core.errors import ExperimentError, StoreError
from lossmap.components.data.batches import Packed, as_inputs, epoch_order, load_packed, sample_indices
from lossmap.components.landscape.losses.loss import Loss
from lossmap.components.landscape.objective import Samples, experiment_loss, like_parameters
from lossmap.components.stores import layout
from lossmap.components.stores.runs import Run
from lossmap.components.surveys.determinism import compute_deterministically
from lossmap.components.surveys.problems import Problems

_NOT_ARCHITECTURE = {
    *("seed", "weights", "weights_key", "weights_sha256", "source_sha256", "object_sha256", "trajectories"),
}


@dataclass(frozen=True)
class Ends:
    """Two runs whose networks can be connected. Experiment and manifest are the first run's; the second's
    are alike in what matters.
    """

    runs: tuple[Run, Run]

    @property
    def trainings(self) -> tuple[str, str]:
        """Addresses of their trainings."""
        return self.runs[0].training, self.runs[1].training

    @property
    def experiment(self) -> Experiment:
        """What the first run is."""
        return self.runs[0].experiment

    @property
    def manifest(self) -> Manifest:
        """Of the data set."""
        return self.runs[0].manifest

    @cached_property
    def training_split(self) -> Packed:
        """All training samples."""
        return load_packed(self.runs[0].store, self.manifest, "train")


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


def find_ends(runs: tuple[Run, Run]) -> Ends:
    """The trained networks of two runs.

    Raises:
        StoreError: a run is unknown or not trained.
        ExperimentError: they have other architectures, data sets or losses, or are the same network.
    """
    first, second = (run.name for run in runs)
    experiments = [run.experiment for run in runs]
    for run in runs:
        if not run.has_data() or not run.has_network():
            raise StoreError(
                f"run {run.name} has no trained network yet; go on with it: lossmap run --resume {run.name}"
            )
    if differences := "; ".join(_differences(experiments, [run.manifest for run in runs])):
        raise ExperimentError(
            f"{first} and {second} differ in {differences}; expected one architecture and one data set"
        )
    if runs[0].training == runs[1].training or _have_one_file(runs):
        cure = "train another one, as with --set model.seed=1 --set training.seed=1"
        if isinstance(experiments[0].model, Imported):
            cure = "give other weights"
        raise ExperimentError(f"{first} and {second} have the same trained network; {cure}")
    return Ends(runs)


def _have_one_file(runs: tuple[Run, Run]) -> bool:
    """Whether two imported networks have the same weights, if in files of two names."""
    if not all(isinstance(run.experiment.model, Imported) for run in runs):
        return False
    first, second = (run.store.read(layout.weights(run.training)) for run in runs)
    return first == second


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


def load_networks(ends: Ends, evaluation: Evaluation) -> Networks:
    """Networks and samples in memory, on the device of the evaluation. Sets torch to one thread."""
    compute_deterministically()
    a, b = (Problems(run).network().eval().to(evaluation.device) for run in ends.runs)
    samples = {"train": _samples(ends.training_split, ends.manifest, evaluation, a)}
    if ends.manifest.count("test"):
        packed = load_packed(ends.runs[0].store, ends.manifest, "test")
        samples["test"] = _samples(packed, ends.manifest, evaluation, a)
    return Networks(a, b, experiment_loss(ends.experiment, ends.manifest), samples)


def _samples(packed: Packed, manifest: Manifest, evaluation: Evaluation, network: nn.Module) -> Samples:
    inputs, targets = packed
    chosen = sample_indices(len(targets), evaluation.samples, evaluation.seed)
    inputs = like_parameters(as_inputs(inputs[chosen], manifest), network).to(evaluation.device)
    return Samples(inputs, targets[chosen].to(evaluation.device), evaluation.batch_size)


class TrainingBatches:
    """All training samples, in another order in every epoch. What is left over at the end of an epoch
    waits for the next.
    """

    def __init__(self, ends: Ends, network: nn.Module, batch_size: int, device: str, seed: int):
        self._network = network
        self._inputs, self._targets = ends.training_split
        self._size = min(batch_size, len(self._targets))
        self._manifest, self._device, self._seed = ends.manifest, device, seed

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._targets) // self._size

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch, as the network and the loss get them."""
        order = epoch_order(len(self._targets), self._seed, number)
        for chosen in order[: len(self) * self._size].split(self._size):
            yield (
                like_parameters(
                    as_inputs(self._inputs[chosen].to(self._device), self._manifest), self._network
                ),
                self._targets[chosen].to(self._device),
            )
