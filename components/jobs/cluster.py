"""What people ask of a cluster: its pods, their logs, and what an account may do. Nothing here changes
anything.
"""

from collections.abc import Iterator

from kubernetes import client

from lossmap.components.jobs import logs
from lossmap.components.jobs.connection import Api, absent_is_none, connect
from lossmap.components.jobs.deployment import CONFIG_MAP

__all__ = [
    "bearer_token",
    "can_i",
    "configuration",
    "crds",
    "interactive_api",
    "pod_log",
    "pods",
]

_INTERACTIVE_SECONDS = 10.0


def interactive_api() -> Api:
    """The cluster of KUBECONFIG, or of this pod, for somebody who waits for the answer: given up after 10
    s.
    """
    return connect(_INTERACTIVE_SECONDS)


def bearer_token(api: Api) -> str | None:
    """The token by which KUBECONFIG, or the account of this pod, is known to the cluster; None without."""
    configuration = api.core.api_client.configuration
    text: str | None = configuration.get_api_key_with_prefix("authorization")
    return text.removeprefix("Bearer ") if text else None


def pods(namespace: str, label_selector: str, api: Api | None = None) -> list[client.V1Pod]:
    """The pods that a label selector selects, oldest first."""
    selected = (
        (api or interactive_api()).core.list_namespaced_pod(namespace, label_selector=label_selector).items
    )
    return sorted(selected, key=lambda pod: (pod.metadata.creation_timestamp, pod.metadata.name))


def pod_log(
    namespace: str, pod: str, container: str, follow: bool = False, api: Api | None = None
) -> Iterator[str]:
    """The lines of a container's log until now; or, followed, until its pod ends, across cuts of the
    connection and restarts.
    """
    api = api or interactive_api()
    description = api.core.read_namespaced_pod(pod, namespace)
    return logs.follow(api, description, container) if follow else logs.read(api, description, container)


def configuration(namespace: str, api: Api | None = None) -> dict[str, str]:
    """What the ConfigMap of lossmap says in a namespace; nothing where there is none."""
    config_map = absent_is_none(
        lambda: (api or interactive_api()).core.read_namespaced_config_map(CONFIG_MAP, namespace)
    )
    return dict(config_map.data or {}) if config_map else {}


def can_i(
    verb: str, resource: str, namespace: str, group: str = "", subresource: str = "", api: Api | None = None
) -> bool:
    """Whether this account may do something in a namespace, such as `create`, `pytorchjobs`, group
    `kubeflow.org`.
    """
    attributes = client.V1ResourceAttributes(
        namespace=namespace, verb=verb, group=group, resource=resource, subresource=subresource or None
    )
    review = client.V1SelfSubjectAccessReview(
        spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
    )
    authorization = (api or interactive_api()).authorization
    return bool(authorization.create_self_subject_access_review(review).status.allowed)


def crds(api: Api | None = None) -> set[str]:
    """The kinds of objects that Kubeflow and its like have added, such as `pytorchjobs.kubeflow.org`;
    everybody may ask for them.
    """
    api = api or interactive_api()
    groups = client.ApisApi(api.core.api_client).get_api_versions().groups
    return {
        f"{kind}.{group.name}"
        for group in groups
        if group.name.endswith(("kubeflow.org", "argoproj.io", "kueue.x-k8s.io"))
        for kind in _kinds(api, group)
    }


def _kinds(api: Api, group: client.V1APIGroup) -> Iterator[str]:
    for resource in api.custom.get_api_resources(group.name, group.preferred_version.version).resources:
        if "/" not in resource.name:
            yield resource.name
