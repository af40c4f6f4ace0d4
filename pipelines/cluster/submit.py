"""The cluster executor: the same steps as a run of Kubeflow Pipelines."""

import math
from dataclasses import asdict, dataclass

from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Landscape
from lossmap.components.config.models import Imported
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import ExperimentError
from lossmap.components.jobs.deployment import CONFIG_MAP, IMAGE_KEY
from lossmap.pipelines.cluster.kubeflow import Kubeflow, PipelineRun


@dataclass(frozen=True)
class Demand:
    """What a run asks of a cluster at most: the survey's share is less where a surface has points already.

    Attributes:
        points: points of the planes and lines, each counted once for each grid it is on; an adaptive plane
            needs fewer.
        images: forward passes for these; the products of the convexity map and of the curvature come on top.
        products: points and networks whose Hessian's eigenvalues are found.
    """

    training_pods: int
    training_processes: int
    training_gpus: int
    survey_pods: int
    survey_gpus: int
    tiles: int
    points: int
    images: int
    products: int
    queue: str | None


def demand(experiment: Experiment) -> Demand:
    """What an experiment asks of a cluster."""
    cluster, landscape = experiment.cluster, experiment.landscape
    points, products = _points(landscape), _products(landscape)
    tiles = landscape.pairs * math.ceil(points / landscape.pairs / landscape.tile_points) + products
    processes = experiment.training.processes if experiment.training else 0
    pods = min(cluster.survey_pods, tiles)
    trains_on_gpus = cluster.profile == "gpu"
    return Demand(
        training_pods=experiment.nodes,
        training_processes=processes,
        training_gpus=processes * trains_on_gpus,
        survey_pods=pods,
        survey_gpus=pods * experiment.surveys_on_gpus,
        tiles=tiles,
        points=points,
        images=points * landscape.samples,
        products=products,
        queue=cluster.queue,
    )


def check_for_cluster(experiment: Experiment) -> None:
    """Refuse what a cluster cannot run, before anything starts there.

    Raises:
        ExperimentError: with the field, the value and what would be right.
    """
    cluster, model = experiment.cluster, experiment.model
    if experiment.training and cluster.trainer == "trainjob":
        from lossmap.components.jobs.trainjob import check_trainjob

        check_trainjob(cluster)
    training = experiment.training.device if experiment.training else "auto"
    for field, place in experiment.data.files.items():
        _expect_readable_in_pods(f"data.{field}", place)
    if isinstance(model, Imported) and model.in_process:
        raise ExperimentError(
            f"model.factory is {model.factory!r}, expected package.module:function of a package that the"
            " image has"
        )
    if isinstance(model, Imported) and model.weights:
        _expect_readable_in_pods("model.weights", model.weights)
    for path in model.trajectories if isinstance(model, Imported) else ():
        for checkpoint in path.checkpoints:
            _expect_readable_in_pods("model.trajectories", checkpoint.weights)
    if cluster.profile == "cpu" and "cuda" in (training, experiment.landscape.device):
        raise ExperimentError(
            "cluster.profile is 'cpu' and a device is 'cuda', expected cluster.profile=gpu, which asks for"
            " GPUs"
        )
    if cluster.pod.runtime_class and experiment.surveys_on_gpus:
        raise ExperimentError(
            f"cluster.pod.runtime_class is {cluster.pod.runtime_class!r} and landscape.device is 'cuda',"
            " expected one without the other: Kubeflow Pipelines cannot give a runtime class to the pods that"
            " survey; set landscape.device=cpu, or make the class the default of the GPU nodes and leave it"
            " out"
        )
    if cluster.profile == "gpu" and training == "cpu":
        raise ExperimentError(
            "cluster.profile is 'gpu' and training.device is 'cpu', expected training.device=auto, so that"
            " the GPUs are used"
        )


def _expect_readable_in_pods(field: str, place: str) -> None:
    if not place.startswith("s3://"):
        raise ExperimentError(
            f"{field} is {place!r}, a path of this machine, expected one that pods can read: put it in S3 and"
            " give its s3:// URI"
        )


def submit_experiment(experiment: Experiment, settings: Settings, run: str, cached: bool = True) -> str:
    """Start a run on the cluster and return Kubeflow's id of it."""
    kubeflow = Kubeflow(settings)
    return kubeflow.submit(package(experiment, settings, run), run, experiment.study, cached)


def package(experiment: Experiment, settings: Settings, run: str) -> str:
    """The pipeline as YAML, on the image that the settings name, or else the cluster.

    Raises:
        ExperimentError: neither does, or this cluster's trainings cannot be asked for what the experiment
            asks.
    """
    from lossmap.components.jobs.cluster import configuration
    from lossmap.components.jobs.kinds import check_trainer
    from lossmap.pipelines.cluster import landscape_pipeline

    if experiment.training:
        check_trainer(experiment.cluster)
    image = settings.image or configuration(settings.namespace).get(IMAGE_KEY)
    if not image:
        raise ExperimentError(
            f"no image: neither LOSSMAP_IMAGE nor the ConfigMap {CONFIG_MAP} in {settings.namespace} names"
            " one; see k8s/README.md"
        )
    return landscape_pipeline.package(experiment, settings.model_copy(update={"image": image}), run)


def start_again(kubeflow: Kubeflow, run: PipelineRun) -> str:
    """Start a run that has ended once more: finished steps are found done, training goes on from its
    checkpoint. Returns the new id.

    Raises:
        ExperimentError: it is still going on, or has succeeded.
    """
    if run.state == "SUCCEEDED":
        raise ExperimentError(f"run {run.name} has succeeded; there is nothing to retry")
    if not run.ended:
        raise ExperimentError(
            f"run {run.name} is {run.state.lower()}; end it first: lossmap cancel {run.name}"
        )
    return kubeflow.resubmit(run)


def demand_record(experiment: Experiment) -> dict[str, object]:
    """The demand for JSON."""
    return asdict(demand(experiment))


def _points(landscape: Landscape) -> int:
    plane = landscape.plane.x.points * landscape.plane.y.points
    line = landscape.line.points if landscape.line else 0
    return landscape.pairs * (plane + line)


def _products(landscape: Landscape) -> int:
    products = 1 if landscape.curvature else 0
    if landscape.convexity:
        plane = landscape.convexity.plane
        products += plane.x.points * plane.y.points
    return products
