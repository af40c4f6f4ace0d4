"""The chain as a Kubeflow pipeline, compiled for one experiment.

    prepare ─▶ train ─▶ plan ─▶ tile × N ─▶ merge ─▶ report         clean_up, at the end, whatever happened

Every step runs on lossmap's own image. Between steps travel digests, and artifacts that describe what lies in
the store; Kubeflow's cache compares the digests: of the data, of the settings, of everything installed in the
image. `prepare` always runs, since it is what looks at the data and at the image; `tile`, since the store
knows better what is missing; `report` and `clean_up`, since they do something outside.

It uses only what Kubeflow Pipelines 2.0.5 and 2.17 both take. `plan` deals the tiles out to a bounded number
of pods, because not every version bounds a loop. A tile whose work fails ends well, and `merge` evaluates
what is missing or tells why it cannot. A tile whose pod is lost is started again where Kubeflow does that
(2.17 does, 2.0.5 ignores `set_retry`); elsewhere the run fails, and `lossmap retry` goes on with what is
missing. No step but the exit handler's task runs after a failure: 2.17 takes every such task out of the
graph, as an exit hook, and then refuses whatever comes after it (its compiler's argocompiler/dag.go).
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from kfp import compiler, dsl, kubernetes
from kfp.dsl import PipelineTask
from kfp.dsl.base_component import BaseComponent

from lossmap.components.clean_up import clean_up
from lossmap.components.config.cluster import Cluster, Resources
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.pod import Pod
from lossmap.components.config.quantities import millicores, whole_bytes
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.frozen import canonical_json
from lossmap.components.jobs import deployment
from lossmap.components.merge import merge
from lossmap.components.plan import plan
from lossmap.components.prepare import prepare
from lossmap.components.report import report
from lossmap.components.tile import tile
from lossmap.components.train import train

_RETRIES = 3  # of a tile whose pod was lost
# Of the exit handler's pod, with the time that its image takes: a pod that never starts, because its image
# does not exist, would keep a cancelled run from ending for good.
_CLEAN_UP_SECONDS = 1800
# from the first pod's start; Argo ends the running pod, too, when it is over, so that Kubeflow's hour would
# end long tiles
_RETRY_WINDOW = "8760h"


def package(experiment: Experiment, settings: Settings, run: str) -> str:
    """The pipeline of an experiment as the YAML that Kubeflow Pipelines takes.

    Args:
        experiment: what is run, and what it asks of the cluster.
        settings: the image of every pod.
        run: name of the run; `{pipeline}` in it stands for the first digits of Kubeflow's own id.

    Raises:
        ExperimentError: it asks for what Kubernetes takes and Kubeflow does not.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pipeline.yaml")
        try:
            pipeline = _pipeline(experiment, _Steps(experiment.cluster, settings, run))
            compiler.Compiler().compile(pipeline, str(file))
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise ExperimentError(
                f"Kubeflow's compiler refuses this pipeline: {reason}; change that under cluster"
            ) from None
        return file.read_text()


def _pipeline(experiment: Experiment, steps: "_Steps") -> BaseComponent:
    cluster = experiment.cluster
    network = canonical_json(experiment.model_dump(mode="json", include={"model", "training"}))
    landscape = canonical_json(experiment.landscape.model_dump(mode="json"))
    tiles = _tiles(experiment, steps)

    @dsl.pipeline(name="lossmap", description="Train a network and survey its loss")
    def lossmap() -> None:
        with dsl.ExitHandler(steps.last(clean_up()), name="chain"):
            prepared = steps.light(prepare(experiment=experiment.canonical_json())).set_caching_options(False)
            digest, software = prepared.outputs["digest"], prepared.outputs["software"]
            trained = steps.light(train(network=network, digest=digest, software=software))
            training, model = trained.outputs["Output"], trained.outputs["model"]
            planned = steps.surveying(
                plan(
                    landscape=landscape,
                    training=training,
                    software=software,
                    pods=cluster.survey_pods,
                    model=model,
                ),
                experiment.plans_on_gpus,
            )
            survey, shares = planned.outputs["survey"], planned.outputs["shares"]
            evaluated = tiles(shares=shares)
            merged = steps.surveying(merge(survey=survey, software=software), experiment.surveys_on_gpus)
            merged.after(evaluated)
            steps.light(report()).after(merged).set_caching_options(False)

    return lossmap


def _tiles(experiment: Experiment, steps: "_Steps") -> BaseComponent:
    """The loop as a pipeline of its own, so that a step can come after it."""

    @dsl.pipeline(name="tiles")
    def tiles(shares: list) -> None:  # type: ignore[type-arg]  # kfp knows no list[str]
        with dsl.ParallelFor(shares, parallelism=experiment.cluster.survey_pods) as share:
            task = steps.surveying(tile(share=share), experiment.surveys_on_gpus).set_caching_options(False)
            task.set_retry(_RETRIES, backoff_max_duration=_RETRY_WINDOW)

    return tiles


@dataclass(frozen=True)
class _Steps:
    """What every step's pod gets, as far as Kubeflow Pipelines can be asked for it."""

    cluster: Cluster
    settings: Settings
    run: str

    def light(self, task: PipelineTask) -> PipelineTask:
        """The step of a task that computes little."""
        return self._step(task, self.cluster.steps)

    def last(self, task: PipelineTask) -> PipelineTask:
        """The step of the exit handler."""
        kubernetes.set_timeout(task, _CLEAN_UP_SECONDS)
        return self.light(task).set_caching_options(False)

    def surveying(self, task: PipelineTask, on_gpu: bool) -> PipelineTask:
        """The step of a task that computes the loss."""
        self._step(task, self.cluster.survey)
        if self.cluster.queued_pods == "survey":
            self._queue(task)
        if on_gpu:
            task.set_accelerator_type(self.cluster.gpu_resource).set_accelerator_limit(1)
            _on_nodes(task, self.cluster.gpu_node_selector)
        return task

    def _step(self, task: PipelineTask, resources: Resources) -> PipelineTask:
        task.set_container_image(self.settings.image)
        _sized(task, resources)
        _on_nodes(task, self.cluster.node_selector)
        for toleration in self.cluster.tolerations:
            kubernetes.add_toleration(task, **toleration.model_dump(exclude_none=True))
        _patched(task, self.cluster.pod)
        if self.cluster.queued_pods == "all":
            self._queue(task)
        _told(task, {"LOSSMAP_RUN": self.run, "LOSSMAP_IMAGE": self.settings.image, "HOME": "/tmp"})
        _given(task, self.cluster.pod.variable_names)
        return task

    def _queue(self, task: PipelineTask) -> None:
        kubernetes.add_pod_label(task, deployment.QUEUE_LABEL, self.cluster.queue)


def _sized(task: PipelineTask, resources: Resources) -> None:
    """kfp knows fewer units than Kubernetes."""
    memory = str(whole_bytes(resources.memory))
    task.set_cpu_request(f"{millicores(resources.cpu)}m").set_cpu_limit(f"{millicores(resources.most_cpu)}m")
    task.set_memory_request(memory).set_memory_limit(memory)


def _on_nodes(task: PipelineTask, labels: dict[str, str]) -> None:
    for label, value in labels.items():
        kubernetes.add_node_selector(task, label, value)


def _patched(task: PipelineTask, pod: Pod) -> None:
    """What the platform demands; a runtime class is none of what can be asked for."""
    for label, value in pod.labels.items():
        kubernetes.add_pod_label(task, label, value)
    for annotation, value in pod.annotations.items():
        kubernetes.add_pod_annotation(task, annotation, value)
    if pod.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(pod.image_pull_secrets))
    kubernetes.set_security_context(task, run_as_user=pod.user, run_as_group=pod.group, run_as_non_root=True)
    _told(task, pod.variables)
    for variables in pod.environment:
        use = kubernetes.use_config_map_as_env if variables.config_map else kubernetes.use_secret_as_env
        for name, key in variables.keys.items():
            use(task, variables.name, {key: name}, optional=variables.optional)
    kubernetes.use_config_map_as_volume(task, deployment.FILES, deployment.FILES_PATH, optional=True)
    for files in pod.files:
        mount = kubernetes.use_config_map_as_volume if files.config_map else kubernetes.use_secret_as_volume
        mount(task, files.name, files.path, optional=files.optional)


def _told(task: PipelineTask, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        task.set_env_variable(name, value)


def _given(task: PipelineTask, others: frozenset[str]) -> None:
    """Places and keys by reference, but for variables that come from elsewhere."""
    kubernetes.use_field_path_as_env(
        task, "LOSSMAP_PIPELINE_RUN", f"metadata.labels['{deployment.PIPELINE_RUN_LABEL}']"
    )
    for keys, optional in ((deployment.CONFIG_KEYS, False), (deployment.OPTIONAL_CONFIG_KEYS, True)):
        own = {key: key for key in keys if key not in others}
        kubernetes.use_config_map_as_env(task, deployment.CONFIG_MAP, own, optional=optional)
    secrets: dict[str, tuple[str, ...]] = {
        deployment.STORE_SECRET: deployment.STORE_KEYS,
        deployment.DATA_SECRET: deployment.DATA_KEYS,
        deployment.TRACKING_SECRET: deployment.TRACKING_KEYS,
    }
    for secret, names in secrets.items():
        own = {key: key for key in names if key not in others}
        kubernetes.use_secret_as_env(task, secret, own, optional=True)
