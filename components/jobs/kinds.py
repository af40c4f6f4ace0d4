"""Which kind of training job a cluster has."""

from lossmap.components.config.cluster import Cluster
from lossmap.components.core.errors import ClusterError, ExperimentError
from lossmap.components.jobs.cluster import crds, interactive_api
from lossmap.components.jobs.connection import Api
from lossmap.components.jobs.kind import Kind
from lossmap.components.jobs.pytorchjob import PyTorchJobs
from lossmap.components.jobs.trainjob import TrainJobs, check_trainjob

# By what cluster.trainer calls them; the first that is there is taken.
KINDS: dict[str, Kind] = {"pytorchjob": PyTorchJobs(), "trainjob": TrainJobs()}
CRDS = {"pytorchjob": "pytorchjobs.kubeflow.org", "trainjob": "trainjobs.trainer.kubeflow.org"}
INSTALLED_BY = {"pytorchjob": "the training operator", "trainjob": "Kubeflow Trainer"}


def check_trainer(cluster: Cluster) -> None:
    """Refuse what the trainings of this cluster cannot be asked for, as far as that is known: where it does
    not say which kind it has, the training's step does.

    Raises:
        ExperimentError: with the field.
    """
    try:
        check_trainjob(cluster)
    except ExperimentError:
        if _trains_by_trainjobs(cluster):
            raise


def _trains_by_trainjobs(cluster: Cluster) -> bool:
    if cluster.trainer != "auto":
        return cluster.trainer == "trainjob"
    try:
        return chosen_kind(interactive_api(), cluster.trainer) is KINDS["trainjob"]
    except ClusterError:
        return False


def chosen_kind(api: Api, asked: str) -> Kind:
    """The kind that cluster.trainer asks for.

    Raises:
        ClusterError: the cluster does not have it.
    """
    there = crds(api)
    usable = [name for name in KINDS if CRDS[name] in there and asked in ("auto", name)]
    if usable:
        return KINDS[usable[0]]
    if asked == "auto":
        raise ClusterError(
            f"the cluster has neither {' nor '.join(CRDS.values())}; install {INSTALLED_BY['trainjob']} or"
            f" {INSTALLED_BY['pytorchjob']} (k8s/third-party)"
        )
    raise ClusterError(
        f"cluster.trainer is {asked}, and the cluster has no {CRDS[asked]}; install {INSTALLED_BY[asked]}"
        " (k8s/third-party), or set cluster.trainer=auto"
    )
