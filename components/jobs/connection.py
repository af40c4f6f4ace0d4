"""The connection to a Kubernetes API server that may be away for a while.

Every request has a time limit, is repeated while the server is away or overloaded, not before the time that
its Retry-After names, and fails with one line that says what to do. urllib3's own Retry counts attempts; here
it is seconds that run out. What `kubeflow.training.TrainingClient` 1.9.4 does otherwise is put right here,
once: requests of it have no limit of their own, a failed one is a RuntimeError that hides its status, its
waiting gives up at the first failed request, and its following of logs can hang. So it creates, reads and
deletes, over our own client, and nothing else.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
import yaml
from kubeflow.training import KubeflowOrgV1PyTorchJob, TrainingClient
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from lossmap.components.core.errors import ClusterError

_PATIENCE_SECONDS = 90.0
_CONNECT_SECONDS, _READ_SECONDS = 5, 30
_LONGEST_PAUSE = 5.0
_PASSING = (408, 429, 500, 502, 503, 504)
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_CURES = {
    401: "log in again, or check the credentials in KUBECONFIG",
    403: "give the account this right, see k8s/base",
}


class ApiError(ClusterError):
    """The API server is out of reach or refuses.

    Attributes:
        status: the HTTP status of the answer; None where there was none.
    """

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Api:
    """A cluster, seen with the rights of one account.

    Attributes:
        host: address of the API server.
        namespace: this pod's, or that of the context in KUBECONFIG.
        core, custom, authorization: the clients of kubernetes; their errors are ApiErrors.
        hasty: the client beneath them, but one that asks once, for what need not be known.
        training: the client of kubeflow.training, for create_job, get_job and delete_job through the methods
            below.
    """

    host: str
    namespace: str
    core: client.CoreV1Api
    custom: client.CustomObjectsApi
    authorization: client.AuthorizationV1Api
    training: TrainingClient
    hasty: client.ApiClient

    def create_job(self, job: KubeflowOrgV1PyTorchJob, namespace: str) -> None:
        """Create a PyTorchJob; the error's status is 409 where there is one of that name."""
        _with_its_cause(lambda: self.training.create_job(job, namespace=namespace))

    def get_job(self, name: str, namespace: str) -> KubeflowOrgV1PyTorchJob | None:
        """A PyTorchJob, or None where there is none of that name."""
        return absent_is_none(
            lambda: _with_its_cause(
                lambda: self.training.get_job(name, namespace, timeout=2 * _PATIENCE_SECONDS)
            )
        )

    def delete_job(self, name: str, namespace: str) -> None:
        """Ask for the end of a PyTorchJob; it is there until its pods and services are gone."""
        options = client.V1DeleteOptions(propagation_policy="Foreground")
        absent_is_none(
            lambda: _with_its_cause(lambda: self.training.delete_job(name, namespace, delete_options=options))
        )


def connect(patience: float = _PATIENCE_SECONDS) -> Api:
    """The cluster that KUBECONFIG points at, or the one around this pod.

    Args:
        patience: seconds for which a request is repeated while the API server is away.

    Raises:
        ClusterError: there is neither; nothing is sent yet, so a server that is away is found out later.
    """
    return api_at(_configuration(), _namespace(), patience)


def api_at(configuration: client.Configuration, namespace: str, patience: float) -> Api:
    """The cluster of a client configuration."""
    configuration.retries = False  # urllib3 would repeat without pausing
    patient = _PatientClient(configuration, patience)
    training = TrainingClient(client_configuration=configuration)
    training.custom_api = client.CustomObjectsApi(patient)
    clients = client.CoreV1Api(patient), training.custom_api, client.AuthorizationV1Api(patient)
    return Api(configuration.host, namespace, *clients, training, _PatientClient(configuration, 0.0))


def own_pod_name() -> str:
    """The pod that this process is in."""
    return os.environ.get("KFP_POD_NAME") or socket.gethostname()


def absent_is_none(call: Callable[[], Any]) -> Any:
    """What the call returns, or None where the cluster has no such object (or not even such a kind)."""
    try:
        return call()
    except ApiError as error:
        if error.status != 404:
            raise
        return None


class _PatientClient(client.ApiClient):  # type: ignore[misc]
    def __init__(self, configuration: client.Configuration, patience: float):
        super().__init__(configuration)
        self._patience = patience

    def request(self, method: str, url: str, *args: Any, **options: Any) -> Any:
        options["_request_timeout"] = options.get("_request_timeout") or (_CONNECT_SECONDS, _READ_SECONDS)
        end = time.monotonic() + self._patience
        for shortest in _pauses():
            try:
                return super().request(method, url, *args, **options)
            except (urllib3.exceptions.HTTPError, ApiException) as error:
                pause = max(shortest, _retry_after(error))
                if not _is_passing(error) or time.monotonic() + pause > end:
                    raise _api_error(error, method, url) from None
            time.sleep(pause)
        return None


def _pauses() -> Iterator[float]:
    pause = 0.2
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE)


def _retry_after(error: Exception) -> float:
    """Seconds for which the server asks to be left alone; 0 where it says nothing."""
    headers = getattr(error, "headers", None) or {}
    try:
        return urllib3.Retry().parse_retry_after(headers.get("Retry-After", "0"))
    except urllib3.exceptions.InvalidHeader:
        return 0.0


def _is_passing(error: Exception) -> bool:
    if isinstance(error, ApiException):
        return error.status in _PASSING or (
            error.status == 0 and "CERTIFICATE_VERIFY_FAILED" not in str(error.reason)
        )
    return True


def _api_error(error: Exception, method: str, url: str) -> ApiError:
    parts = urllib3.util.parse_url(url)
    if not isinstance(error, ApiException) or error.status == 0:
        reason = error.reason if isinstance(error, ApiException) else error
        return ApiError(
            f"the API server {parts.netloc} is out of reach: {_line(reason)}; check KUBECONFIG and the"
            " network"
        )
    cure = _CURES.get(error.status)
    text = f"the API server refuses {method} {parts.path}: {_message(error)}"
    return ApiError(f"{text}; {cure}" if cure else text, error.status)


def _message(error: ApiException) -> str:
    try:
        return _line(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"


def _line(text: object) -> str:
    return " ".join(str(text).split()).rstrip(".")


def _with_its_cause(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except (
        RuntimeError,
        TimeoutError,
    ) as error:  # `raise … from` in some of its branches, plain `raise` in others
        cause = error.__cause__ or error.__context__
        if isinstance(cause, ApiError):
            raise cause from None
        raise ApiError(_line(error)) from error


def _configuration() -> client.Configuration:
    configuration = client.Configuration()
    try:
        if _is_pod():
            config.load_incluster_config(client_configuration=configuration)
        else:
            config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=configuration)
    except (config.ConfigException, OSError, ValueError, yaml.YAMLError) as error:
        raise ClusterError(f"no cluster: {_line(error)}; set KUBECONFIG to a file that names one") from None
    return configuration


def _namespace() -> str:
    if _is_pod():
        return (_ACCOUNT / "namespace").read_text().strip()
    _, context = config.list_kube_config_contexts(os.environ.get("KUBECONFIG"))
    return str(context["context"].get("namespace") or "default")


def _is_pod() -> bool:
    return "KUBECONFIG" not in os.environ and (_ACCOUNT / "token").is_file()
