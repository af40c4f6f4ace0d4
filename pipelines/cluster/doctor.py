"""What `lossmap doctor --cluster` looks at: whether runs can be submitted, and whether the cluster has
what they need.
"""

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import ClusterError, LossmapError
from lossmap.components.jobs.cluster import can_i, configuration, crds, interactive_api
from lossmap.components.jobs.connection import Api, ApiError
from lossmap.components.jobs.deployment import (
    CONFIG_KEYS,
    CONFIG_MAP,
    IMAGE_KEY,
    STEPS_ACCOUNT,
    STORE_SECRET,
    TRAINING_ACCOUNT,
)
from lossmap.pipelines.cluster.kubeflow import Kubeflow
from lossmap.pipelines.doctor import Finding

_INSTALL = "install it: kubectl apply -k k8s/overlays/… (see k8s/README.md)"
_KINDS = {
    "workflows.argoproj.io": "install Kubeflow Pipelines (k8s/third-party)",
    "pytorchjobs.kubeflow.org": "install the training operator (k8s/third-party)",
}
_RIGHTS = (
    ("list", "pods", "", ""),
    ("get", "pods", "", "log"),
    ("list", "pytorchjobs", "kubeflow.org", ""),
    ("delete", "pytorchjobs", "kubeflow.org", ""),
)
_SECONDS = 10


def examine_cluster(settings: Settings) -> list[Finding]:
    """Look at everything that a run on the cluster needs. Nothing is raised for what is not well, and
    nothing is changed.
    """
    try:
        api = interactive_api()
        api.core.get_api_resources()
    except ClusterError as error:
        return [_failed("API server", error)]
    reached = Finding("API server", True, api.host)
    return [
        reached,
        *_kinds(api),
        _rights(api, settings),
        _pipelines(settings),
        *_objects(api, settings),
        *_services(api, settings),
        _image(api, settings),
    ]


def _kinds(api: Api) -> Iterator[Finding]:
    known = crds(api)
    for kind, cure in _KINDS.items():
        yield (
            Finding(kind, True, "there")
            if kind in known
            else Finding(kind, False, "not in this cluster", cure)
        )
    text = "not in this cluster, so that cluster.queue means nothing"
    if any(kind.endswith("kueue.x-k8s.io") for kind in known):
        text = "there; name a queue with cluster.queue"
    yield Finding("Kueue", True, text)


def _rights(api: Api, settings: Settings) -> Finding:
    missing = [
        f"{verb} {kind}/{part}".rstrip("/")
        for verb, kind, group, part in _RIGHTS
        if not can_i(verb, kind, settings.namespace, group, part, api)
    ]
    if not missing:
        return Finding("rights", True, "enough to follow and cancel runs")
    cure = f"bind the role lossmap-user in {settings.namespace} to you (see k8s/README.md)"
    return Finding("rights", False, f"may not {', '.join(missing)}", cure)


def _pipelines(settings: Settings) -> Finding:
    try:
        Kubeflow(settings).require()
        return Finding("Kubeflow Pipelines", True, f"answers in {settings.namespace}")
    except ClusterError as error:
        return _failed("Kubeflow Pipelines", error)


def _objects(api: Api, settings: Settings) -> Iterator[Finding]:
    namespace = settings.namespace
    reads: dict[str, Callable[[], object]] = {
        f"ConfigMap {CONFIG_MAP}": lambda: _complete(
            api.core.read_namespaced_config_map(CONFIG_MAP, namespace).data or {}
        ),
        f"account {STEPS_ACCOUNT}": lambda: api.core.read_namespaced_service_account(
            STEPS_ACCOUNT, namespace
        ),
        f"account {TRAINING_ACCOUNT}": lambda: api.core.read_namespaced_service_account(
            TRAINING_ACCOUNT, namespace
        ),
        f"Secret {STORE_SECRET}": lambda: api.core.read_namespaced_secret(STORE_SECRET, namespace),
    }
    for name, read in reads.items():
        yield _object(name, namespace, read)


def _object(name: str, namespace: str, read: Callable[[], object]) -> Finding:
    try:
        read()
    except ApiError as error:
        if error.status == 403:
            return Finding(name, True, "not for your eyes; a step that misses it waits, and says so")
        return Finding(name, False, f"not in {namespace}" if error.status == 404 else str(error), _INSTALL)
    except ClusterError as error:
        return Finding(name, False, str(error), _INSTALL)
    return Finding(name, True, f"in {namespace}")


def _complete(data: dict[str, str]) -> None:
    missing = [key for key in CONFIG_KEYS if not data.get(key)]
    if missing:
        raise ClusterError(f"has no {', '.join(missing)}")


def _services(api: Api, settings: Settings) -> Iterator[Finding]:
    data = _configuration(api, settings)
    for name, key, path in (("MLflow", "LOSSMAP_TRACKING", "/health"), ("S3", "AWS_ENDPOINT_URL", "/")):
        if data.get(key):
            yield _service(api, settings, name, data[key], path)


def _service(api: Api, settings: Settings, name: str, uri: str, path: str) -> Finding:
    from lossmap.components.jobs.forward import reached

    try:
        with reached(api, uri, settings.namespace) as address:
            _answer(address.rstrip("/") + path)
    except (LossmapError, OSError) as error:
        return Finding(
            name,
            False,
            f"{uri} does not answer: {error}",
            "look at its pods, or correct the ConfigMap lossmap",
        )
    return Finding(name, True, f"{uri} answers")


def _answer(address: str) -> None:
    try:
        urllib.request.urlopen(address, timeout=_SECONDS).close()
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            raise
        error.close()  # it answers, if only to people it knows


def _image(api: Api, settings: Settings) -> Finding:
    image = settings.image or _configuration(api, settings).get(IMAGE_KEY)
    if not image:
        return Finding(
            "image", False, "named by nobody", f"set LOSSMAP_IMAGE, here or in the ConfigMap {CONFIG_MAP}"
        )
    return Finding("image", True, f"{image}; a node that cannot pull it says so in `lossmap status`")


def _configuration(api: Api, settings: Settings) -> dict[str, str]:
    try:
        return configuration(settings.namespace, api)
    except ApiError:
        return {}  # told already


def _failed(name: str, error: LossmapError) -> Finding:
    detail, _, cure = str(error).rpartition("; ")
    return Finding(name, False, detail or cure, cure if detail else "look at it with kubectl")
