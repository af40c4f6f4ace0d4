"""A run in the store, read and written by its meaning."""

import hashlib
import re
from collections.abc import Mapping, Set
from functools import cached_property
from typing import Any

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.manifest import Manifest
from lossmap.components.core.errors import ExperimentError, StoreError
from lossmap.components.core.frozen import Frozen, canonical_json
from lossmap.components.core.notes import tell
from lossmap.components.stores import layout, software
from lossmap.components.stores.addresses import SurveyComputation, TrainingComputation
from lossmap.components.stores.documents import (
    Damaged,
    load_document,
    load_json,
    load_tensors,
    write_document,
    write_json,
)
from lossmap.components.stores.objects import Store, open_store
from lossmap.components.stores.survey_plan import Survey


class Links(Frozen):
    """The addresses of a run's training and survey. Runs that ask for the same share them."""

    training: str
    survey: str


class Run:
    """One run. Its documents never change: each is read when it is first asked for, and then kept here. What
    may change, such as which tiles there are, is looked up each time.

    Handed to another process, it takes along the documents that it has read, and opens the store there when
    it is first asked for: that process may get its environment after its arguments.

    Attributes:
        name: of the run.
        tile_results: what was read of tiles, by key; they never change either.
    """

    def __init__(self, store: Store, name: str):
        self._uri, self.name = store.uri, name
        self.store = store
        self.tile_results: dict[str, Mapping[Any, Any]] = {}
        self._has_new_links = False  # and so has written what is to be trained

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "store"} | {"tile_results": {}}

    @cached_property
    def store(self) -> Store:
        """Where it is."""
        return open_store(self._uri, is_there=True)

    def begin(self, experiment: Experiment) -> None:
        """Keep the experiment of a new run.

        Raises:
            ExperimentError: the run has begun, with another one.
        """
        key = layout.experiment(self.name)
        if not self.store.exists(key):
            write_document(self.store, key, experiment)
            self.experiment = experiment
        elif self.experiment != experiment:
            raise ExperimentError(f"run {self.name} exists with another experiment; start a new run")

    @cached_property
    def experiment(self) -> Experiment:
        """What the run is.

        Raises:
            StoreError: the store has no such run; the message names some that it has.
        """
        try:
            return load_document(self.store, layout.experiment(self.name), Experiment)
        except Damaged:
            raise
        except StoreError:
            self.check_begun()
            raise

    def has_data(self) -> bool:
        """Whether its data set is packed."""
        return self.store.exists(layout.run_dataset(self.name))

    def keep_manifest(self, manifest: Manifest) -> None:
        """Note which data set the run uses."""
        write_document(self.store, layout.run_dataset(self.name), manifest)
        self.manifest = manifest

    @cached_property
    def manifest(self) -> Manifest:
        """Of its data set."""
        return load_document(self.store, layout.run_dataset(self.name), Manifest)

    @cached_property
    def links(self) -> Links:
        """Its training and survey: those that it began with, also when lossmap has changed since."""
        key = layout.links(self.name)
        if self.store.exists(key):
            try:
                return load_document(self.store, key, Links)
            except Damaged:
                tell(f"{self.store.uri}/{key} is damaged and written again, as for a run that begins now")
        self._has_new_links, links = True, self._new_links()
        write_document(self.store, key, links)
        return links

    @property
    def training(self) -> str:
        """Address of its training."""
        return self.links.training

    def has_links(self) -> bool:
        """Whether it has got as far as to have a training."""
        return self.store.exists(layout.links(self.name))

    def trained_on(self) -> str | None:
        """Digest of the data set of its training; None where it has no links yet."""
        if not self.has_links():
            return None
        return load_training_computation(self.store, self.training).dataset

    def require_computation(self) -> None:
        """See to it that the store says, undamaged, what is to be trained.

        Raises:
            Damaged: it does not, and lossmap has changed since.
        """
        training = self.training
        if self._has_new_links:
            return
        try:
            if load_training_computation(self.store, training).address() == training:
                return
            damage = Damaged(f"what training {self.training[:12]} is does not lead to that address")
        except Damaged as error:
            damage = error
        if self._new_links().training != training:
            raise damage

    def has_network(self) -> bool:
        """Whether its training is complete."""
        return self.store.exists(layout.training_result(self.training))

    def check_network(self) -> None:
        """See to it that the trained network and its metrics are whole.

        Raises:
            Damaged: they are not.
        """
        load_json(self.store, layout.training_result(self.training))
        load_tensors(self.store, layout.weights(self.training))
        if not self.experiment.training:
            load_tensors(self.store, layout.sample_losses(self.training))

    @cached_property
    def training_result(self) -> dict[str, Any]:
        """The metrics of the trained network."""
        result: dict[str, Any] = load_json(self.store, layout.training_result(self.training))
        return result

    @property
    def most_samples(self) -> int:
        """As many samples as any part of its survey asks for."""
        landscape = self.experiment.landscape
        parts = (landscape, landscape.curvature, landscape.convexity)
        return max(part.samples for part in parts if part)

    @property
    def samples(self) -> str:
        """Place of the samples of its survey."""
        landscape = self.experiment.landscape
        decisive = {
            "data": self.manifest.digest,
            "split": landscape.split,
            "task": landscape.task,
            "samples": self.most_samples,
            "seed": landscape.seed,
            "software": software.software_of(software.DRAWING),
        }
        return layout.samples(hashlib.sha256(canonical_json(decisive).encode()).hexdigest())

    def keep_survey(self, survey: Survey) -> None:
        """Keep the plan of its survey."""
        write_document(self.store, layout.survey_plan(self.links.survey), survey)
        self.survey = survey

    @cached_property
    def survey(self) -> Survey:
        """The plan of its survey."""
        return load_document(self.store, layout.survey_plan(self.links.survey), Survey)

    def is_finished(self) -> bool:
        """Whether its report is complete."""
        return self.store.exists(layout.scalars(self.name))

    def check_finished(self) -> None:
        """Refuse a run whose report is not complete.

        Raises:
            StoreError: the run is not finished, or unknown.
        """
        if not self.is_finished():
            self.check_begun()
            raise StoreError(
                f"run {self.name} is not finished; go on with it: lossmap run --resume {self.name}"
            )

    def scalars(self) -> dict[str, float | None]:
        """The numbers of its report.

        Raises:
            StoreError: the run is not finished, or unknown.
        """
        self.check_finished()
        scalars: dict[str, float | None] = load_json(self.store, layout.scalars(self.name))
        return scalars

    def check_begun(self) -> None:
        """Refuse a run that there is not.

        Raises:
            StoreError: with the names of some that there are.
        """
        if not self.store.exists(layout.experiment(self.name)):
            known = ", ".join(list_runs(self.store)[-3:])
            hint = f"the newest are {known}" if known else "it has no runs yet"
            raise StoreError(f"{self.store.uri} has no run {self.name}; {hint}")

    def _new_links(self) -> Links:
        computation = TrainingComputation(
            dataset=self.manifest.digest,
            model=self.experiment.model,
            training=self.experiment.training,
            software=software.software_of(
                software.TRAINING if self.experiment.training else software.IMPORTING
            ),
        )
        training = computation.address()
        write_document(self.store, layout.training_computation(training), computation)
        survey = SurveyComputation(
            training=training,
            landscape=self.experiment.landscape,
            software=software.software_of(software.SURVEY),
        )
        return Links(training=training, survey=survey.address())


def list_runs(store: Store) -> list[str]:
    """Names of all runs: those of studies, whose names have no time, in their order, then the others,
    oldest first.
    """
    return _names_of(set(store.keys("runs/")))


def list_finished(store: Store) -> list[str]:
    """The same of those whose report is complete; the store is asked for one list, whatever their number."""
    keys = set(store.keys("runs/"))
    return [name for name in _names_of(keys) if layout.scalars(name) in keys]


def _names_of(keys: Set[str]) -> list[str]:
    names = {key.split("/")[1] for key in keys}
    return sorted((name for name in names if layout.experiment(name) in keys), key=_age)


def _age(run: str) -> tuple[str, str]:
    timed = re.search(r"-(\d{8}-[0-9a-f]{9})$", run)
    return (timed[1], run) if timed else ("", run)


def load_manifest(store: Store, digest: str) -> Manifest:
    """The manifest of a packed data set; StoreError where it is missing or damaged."""
    return load_document(store, layout.dataset(digest), Manifest)


def load_training_computation(store: Store, training: str) -> TrainingComputation:
    """What a training is to do; StoreError where that is missing or damaged."""
    return load_document(store, layout.training_computation(training), TrainingComputation)


def save_epoch(store: Store, training: str, metrics: Mapping[str, float]) -> None:
    """Keep the metrics of one epoch, under its number `epoch`."""
    write_json(store, layout.epoch_metrics(training, int(metrics["epoch"])), metrics)


def load_epochs(store: Store, training: str) -> list[dict[str, float]]:
    """The metrics of all finished epochs, in order."""
    return [load_json(store, key) for key in store.keys(layout.epochs(training))]
