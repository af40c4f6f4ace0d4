"""Which kind of training job a cluster has."""

from lossmap.components.core.errors import ClusterError
from lossmap.components.jobs.cluster import crds
from lossmap.components.jobs.connection import Api
from lossmap.components.jobs.kind import Kind
from lossmap.components.jobs.pytorchjob import PyTorchJobs
from lossmap.components.jobs.trainjob import TrainJobs

# By what cluster.trainer calls them; the first that is there is taken.
KINDS: dict[str, Kind] = {"pytorchjob": PyTorchJobs(), "trainjob": TrainJobs()}
CRDS = {"pytorchjob": "pytorchjobs.kubeflow.org", "trainjob": "trainjobs.trainer.kubeflow.org"}
INSTALLED_BY = {"pytorchjob": "the training operator", "trainjob": "Kubeflow Trainer"}


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
