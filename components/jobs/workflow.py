"""The Argo Workflow that a step's pod is part of."""

from lossmap.components.jobs.connection import Api, absent_is_none, own_pod_name

_LABEL = "workflows.argoproj.io/workflow"


def was_terminated(api: Api) -> bool:
    """Whether somebody ended the pipeline run that this pod belongs to: Kubeflow then sets the Workflow's
    deadline to zero.
    """
    labels = api.core.read_namespaced_pod(own_pod_name(), api.namespace).metadata.labels or {}
    arguments = ("argoproj.io", "v1alpha1", api.namespace, "workflows", labels.get(_LABEL, ""))
    workflow = absent_is_none(lambda: api.custom.get_namespaced_custom_object(*arguments)) or {}
    return bool(workflow.get("spec", {}).get("activeDeadlineSeconds") == 0)
