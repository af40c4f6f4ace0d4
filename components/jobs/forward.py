"""A service of the cluster under an address of this machine, as `kubectl port-forward` gives it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlparse

from kubernetes import client
from kubernetes.stream import portforward

from lossmap.components.core.errors import ClusterError
from lossmap.components.jobs.connection import Api, ApiError

_BLOCK = 65536


@contextmanager
def port_forward(api: Api, namespace: str, service: str, port: int, local_port: int = 0) -> Iterator[str]:
    """The address http://127.0.0.1:… that leads to a port of a service, as long as the block is running.

    Args:
        api: the cluster.
        namespace: of the service.
        service: its name.
        port: of the service.
        local_port: of this machine; a free one without it.

    Raises:
        ClusterError: there is no such service, or no pod of it is ready.
    """
    pod, target = _backend(api, namespace, service, port)
    with socket.create_server(("127.0.0.1", local_port)) as server:
        threading.Thread(target=_serve, args=(api, namespace, pod, target, server), daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def reached(api: Api, uri: str, namespace: str, local_port: int = 0) -> Iterator[str]:
    """The address under which this machine reaches what the cluster's pods call `uri`: that of a port-forward
    for a service of the cluster, else `uri` itself.

    A name of two parts is a service and its namespace, or a host of some network, as mlflow.corp: the latter
    where the cluster shows no such service and this machine knows the name.

    Raises:
        ClusterError: there is neither.
    """
    with ExitStack() as stack:
        address, place = uri, in_cluster(uri, namespace)
        if place:
            try:
                forwarded = stack.enter_context(port_forward(api, *place, local_port))
                address = f"{forwarded}{urlparse(uri).path}"
            except ApiError as error:
                if error.status not in (403, 404) or not _is_known_here(uri):
                    raise
        yield address


def _is_known_here(uri: str) -> bool:
    try:
        socket.getaddrinfo(urlparse(uri).hostname, None)
    except OSError:
        return False
    return True


def in_cluster(uri: str, namespace: str) -> tuple[str, str, int] | None:
    """Namespace, service and port of an address such as http://mlflow.lossmap:5000 or
    http://mlflow.lossmap.svc.cluster.local:5000.

    None for an address that is somewhere else; one without a dot is in `namespace`.
    """
    parts = urlparse(uri)
    service, _, rest = (parts.hostname or "").partition(".")
    place, _, domain = rest.partition(".")
    if not service or (domain and domain.split(".")[0] != "svc"):
        return None
    return place or namespace, service, parts.port or (443 if parts.scheme == "https" else 80)


def _backend(api: Api, namespace: str, service: str, port: int) -> tuple[str, int]:
    """A ready pod of the service, and the port that it listens on."""
    endpoints = api.core.read_namespaced_endpoints(service, namespace)
    for subset in endpoints.subsets or ():
        ports = [each.port for each in subset.ports or ()]
        for address in subset.addresses or ():
            if address.target_ref and ports:
                return address.target_ref.name, port if port in ports else ports[0]
    raise ClusterError(
        f"service {service} in {namespace} has no pod that is ready; look at it: kubectl -n {namespace} get"
        " pods"
    )


def _serve(api: Api, namespace: str, pod: str, port: int, server: socket.socket) -> None:
    with suppress(OSError):  # closed: the block has ended
        while True:
            connection, _ = server.accept()
            threading.Thread(
                target=_connect, args=(api, namespace, pod, port, connection), daemon=True
            ).start()


def _connect(api: Api, namespace: str, pod: str, port: int, near: socket.socket) -> None:
    # A client of its own: the stream turns the client that it is given into one for web sockets.
    core = client.CoreV1Api(client.ApiClient(api.core.api_client.configuration))
    with near, suppress(OSError, client.ApiException):
        far = portforward(
            core.connect_get_namespaced_pod_portforward, pod, namespace, ports=str(port)
        ).socket(port)
        far.setblocking(True)
        threading.Thread(target=_pump, args=(near, far), daemon=True).start()
        _pump(far, near)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while block := source.recv(_BLOCK):
            target.sendall(block)
        target.shutdown(socket.SHUT_WR)
