"""What `lossmap doctor --cluster` looks at: whether runs can be submitted, and whether the cluster has
what they need.
"""

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial

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
from lossmap.components.jobs.kinds import CRDS, INSTALLED_BY
from lossmap.components.jobs.trainjob import RUNTIME, TRAINER_API
from lossmap.pipelines.cluster.kubeflow import Kubeflow
from lossmap.pipelines.doctor import Finding

_INSTALL = "install it: kubectl apply -k k8s/overlays/… (see k8s/README.md)"
_INSTALL_RUNTIME = "install it: kubectl apply -k k8s/trainer (see k8s/README.md)"
_WORKFLOWS = "workflows.argoproj.io"
_RIGHTS = (("list", "pods", "", ""), ("get", "pods", "", "log"))
_SECONDS = 10
_ROLE = "eks.amazonaws.com/role-arn"


def examine_cluster(settings: Settings) -> list[Finding]:
    """Look at everything that a run on the cluster needs. Nothing is raised for what is not well, and
    nothing is changed.
    """
    try:
        api = interactive_api()
        api.core.get_api_resources()
    except ClusterError as error:
        return [_failed("API server", error)]
    reached, known = Finding("API server", True, api.host), crds(api)
    return [
        reached,
        *_kinds(known),
        _rights(api, settings, known),
        _pipelines(settings),
        *_objects(api, settings, known),
        *_services(api, settings),
        _image(api, settings),
    ]


def _kinds(known: set[str]) -> Iterator[Finding]:
    there = _WORKFLOWS in known
    text = "there" if there else "not in this cluster"
    yield Finding(_WORKFLOWS, there, text, "install Kubeflow Pipelines (k8s/third-party)")
    jobs = [name for name in CRDS.values() if name in known]
    text = f"{' and '.join(jobs)}; cluster.trainer=auto takes the first" if jobs else "not in this cluster"
    install = f"install {' or '.join(INSTALLED_BY.values())} (k8s/third-party)"
    yield Finding("training jobs", bool(jobs), text, install)
    text = "not in this cluster, so that cluster.queue means nothing"
    if any(kind.endswith("kueue.x-k8s.io") for kind in known):
        text = "there; name a queue with cluster.queue"
    yield Finding("Kueue", True, text)


def _rights(api: Api, settings: Settings, known: set[str]) -> Finding:
    jobs = [name.partition(".") for name in CRDS.values() if name in known]
    of_jobs = [(verb, kind, group, "") for kind, _, group in jobs for verb in ("list", "delete")]
    missing = [
        f"{verb} {kind}/{part}".rstrip("/")
        for verb, kind, group, part in (*_RIGHTS, *of_jobs)
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


def _objects(api: Api, settings: Settings, known: set[str]) -> Iterator[Finding]:
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
    }
    for name, read in reads.items():
        yield _object(name, namespace, read)
    yield _keys(api, namespace)
    if CRDS["trainjob"] in known:
        runtime = (*TRAINER_API, namespace, "trainingruntimes", RUNTIME)
        read = partial(api.custom.get_namespaced_custom_object, *runtime)
        yield _object(f"TrainingRuntime {RUNTIME}", namespace, read, _INSTALL_RUNTIME)


def _keys(api: Api, namespace: str) -> Finding:
    """The Secret of S3's keys, or a role of the accounts that stands for it."""
    name = f"Secret {STORE_SECRET}"
    found = _object(name, namespace, lambda: api.core.read_namespaced_secret(STORE_SECRET, namespace))
    if found.ok or not all(_role(api, namespace, account) for account in (STEPS_ACCOUNT, TRAINING_ACCOUNT)):
        return found
    return Finding(name, True, f"not in {namespace}, where the accounts' roles give the keys")


def _role(api: Api, namespace: str, account: str) -> str | None:
    """That of AWS which an account takes (IRSA); Pod Identity is not seen."""
    try:
        metadata = api.core.read_namespaced_service_account(account, namespace).metadata
    except ClusterError:
        return None
    role: str | None = (metadata.annotations or {}).get(_ROLE)
    return role


def _object(name: str, namespace: str, read: Callable[[], object], cure: str = _INSTALL) -> Finding:
    try:
        read()
    except ApiError as error:
        if error.status == 403:
            return Finding(name, True, "not for your eyes; a step that misses it waits, and says so")
        return Finding(name, False, f"not in {namespace}" if error.status == 404 else str(error), cure)
    except ClusterError as error:
        return Finding(name, False, str(error), cure)
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
