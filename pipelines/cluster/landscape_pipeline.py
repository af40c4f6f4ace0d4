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
from collections.abc import Callable
from functools import partial
from pathlib import Path

from kfp import compiler, dsl, kubernetes
from kfp.dsl import PipelineTask
from kfp.dsl.base_component import BaseComponent

from lossmap.components.clean_up import clean_up
from lossmap.components.config.cluster import Cluster, Resources
from lossmap.components.config.experiment import Experiment
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

Configure = Callable[[PipelineTask, Resources], PipelineTask]

_RETRIES = 3  # of a tile whose pod was lost
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
        ExperimentError: it asks for what Kubernetes takes and Kubeflow does not, such as 1.5Gi.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pipeline.yaml")
        try:
            pipeline = _pipeline(experiment, partial(_configured, settings=settings, run=run))
            compiler.Compiler().compile(pipeline, str(file))
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise ExperimentError(
                f"Kubeflow's compiler refuses this pipeline: {reason}; change that under cluster"
            ) from None
        return file.read_text()


def _pipeline(experiment: Experiment, configured: Configure) -> BaseComponent:
    cluster = experiment.cluster
    network = canonical_json(experiment.model_dump(mode="json", include={"model", "training"}))
    landscape = canonical_json(experiment.landscape.model_dump(mode="json"))
    tiles = _tiles(experiment, configured)

    @dsl.pipeline(name="lossmap", description="Train a network and survey its loss")
    def lossmap() -> None:
        with dsl.ExitHandler(configured(clean_up(), cluster.steps).set_caching_options(False), name="chain"):
            prepared = configured(
                prepare(experiment=experiment.canonical_json()), cluster.steps
            ).set_caching_options(False)
            digest, software = prepared.outputs["digest"], prepared.outputs["software"]
            trained = configured(train(network=network, digest=digest, software=software), cluster.steps)
            training, model = trained.outputs["Output"], trained.outputs["model"]
            planned = configured(
                plan(
                    landscape=landscape,
                    training=training,
                    software=software,
                    pods=cluster.survey_pods,
                    model=model,
                ),
                cluster.survey,
            )
            survey, shares = planned.outputs["survey"], planned.outputs["shares"]
            evaluated = tiles(shares=shares)
            merged = configured(merge(survey=survey, software=software), cluster.survey).after(evaluated)
            configured(report(), cluster.steps).after(merged).set_caching_options(False)

    return lossmap


def _tiles(experiment: Experiment, configured: Configure) -> BaseComponent:
    """The loop as a pipeline of its own, so that a step can come after it."""

    @dsl.pipeline(name="tiles")
    def tiles(shares: list) -> None:  # type: ignore[type-arg]  # kfp knows no list[str]
        with dsl.ParallelFor(shares, parallelism=experiment.cluster.survey_pods) as share:
            task = configured(tile(share=share), experiment.cluster.survey).set_caching_options(False)
            task.set_retry(_RETRIES, backoff_max_duration=_RETRY_WINDOW)
            _placed(task, experiment.cluster)
            if experiment.cluster.profile == "gpu" and experiment.landscape.device == "cuda":
                task.set_accelerator_type(experiment.cluster.gpu_resource).set_accelerator_limit(1)

    return tiles


def _configured(task: PipelineTask, resources: Resources, settings: Settings, run: str) -> PipelineTask:
    """What every step's pod gets: image, places and keys by reference, resources, a user without rights."""
    task.set_container_image(settings.image)
    task.set_cpu_request(resources.cpu).set_cpu_limit(resources.most_cpu).set_memory_request(
        resources.memory
    ).set_memory_limit(resources.memory)
    for name, value in {"LOSSMAP_RUN": run, "LOSSMAP_IMAGE": settings.image, "HOME": "/tmp"}.items():
        task.set_env_variable(name, value)
    kubernetes.use_field_path_as_env(
        task, "LOSSMAP_PIPELINE_RUN", f"metadata.labels['{deployment.PIPELINE_RUN_LABEL}']"
    )
    for keys, optional in ((deployment.CONFIG_KEYS, False), (deployment.OPTIONAL_CONFIG_KEYS, True)):
        kubernetes.use_config_map_as_env(
            task, deployment.CONFIG_MAP, {key: key for key in keys}, optional=optional
        )
    for secret, names, optional in (
        (deployment.STORE_SECRET, deployment.STORE_KEYS, False),
        (deployment.STORE_SECRET, deployment.OPTIONAL_STORE_KEYS, True),
        (deployment.DATA_SECRET, deployment.DATA_KEYS, True),
        (deployment.TRACKING_SECRET, deployment.TRACKING_KEYS, True),
    ):
        kubernetes.use_secret_as_env(task, secret, {name: name for name in names}, optional=optional)
    kubernetes.set_security_context(
        task, run_as_user=deployment.USER, run_as_group=deployment.USER, run_as_non_root=True
    )
    return task


def _placed(task: PipelineTask, cluster: Cluster) -> None:
    for label, value in cluster.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    for toleration in cluster.tolerations:
        kubernetes.add_toleration(task, **toleration.model_dump(exclude_none=True))
