"""Queues of Kueue, and what else waits in them."""

import json
from dataclasses import dataclass

from cluster.kubectl import RESTRICTED, apply, get, kubectl

_API = "kueue.x-k8s.io/v1beta2"
_QUEUE, _PRIORITY = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"
_FLAVOR, _URGENT = "lossmap-test", "lossmap-test-urgent"


@dataclass(frozen=True)
class Queue:
    """A local queue with a cluster queue of its own.

    Attributes:
        namespace: of the local queue.
        name: of the local queue; the other one's is `cluster_queue`.
        image: of those who take its room.
    """

    namespace: str
    name: str
    image: str

    @property
    def cluster_queue(self):
        return f"{self.namespace}-{self.name}"

    def make(self, cpu):
        """Make it, with room for so much CPU; the urgent push out others."""
        quotas = [{"name": "cpu", "nominalQuota": cpu}, {"name": "memory", "nominalQuota": "64Gi"}]
        flavor = {"name": _FLAVOR, "resources": quotas}
        group = {"coveredResources": ["cpu", "memory"], "flavors": [flavor]}
        every = {
            "namespaceSelector": {},
            "preemption": {"withinClusterQueue": "LowerPriority"},
            "resourceGroups": [group],
        }
        apply(
            _object("ResourceFlavor", _FLAVOR),
            _object("WorkloadPriorityClass", _URGENT, value=1000),
            _object("ClusterQueue", self.cluster_queue, spec=every),
            _object("LocalQueue", self.name, self.namespace, spec={"clusterQueue": self.cluster_queue}),
        )

    def enlarge(self, cpu):
        """Give it room for so much CPU."""
        quota = "/spec/resourceGroups/0/flavors/0/resources/0/nominalQuota"
        patch = json.dumps([{"op": "replace", "path": quota, "value": cpu}])
        kubectl("patch", "clusterqueue", self.cluster_queue, "--type=json", "-p", patch)

    def occupy(self, name, cpu, urgent=False):
        """Take some of its room by a Job, which sleeps; an urgent one pushes out who is not."""
        labels = {_QUEUE: self.name} | ({_PRIORITY: _URGENT} if urgent else {})
        container = {
            "name": "main",
            "image": self.image,
            "command": ["sleep", "600"],
            "resources": {"requests": {"cpu": cpu, "memory": "32Mi"}},
            "securityContext": RESTRICTED,
        }
        user = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
        pod = {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "securityContext": user,
            "containers": [container],
        }
        metadata = {"name": name, "namespace": self.namespace, "labels": labels}
        apply(
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": metadata,
                "spec": {"template": {"spec": pod}},
            }
        )

    def leave(self, name):
        """Give the room of such a Job back."""
        kubectl("--namespace", self.namespace, "delete", "job", name)

    def pods(self):
        """Names of pods that wait in it, or were in it, one by one."""
        found = get("workloads.kueue.x-k8s.io", "--namespace", self.namespace)["items"]
        owners = (
            owner
            for each in found
            if each["spec"].get("queueName") == self.name
            for owner in each["metadata"]["ownerReferences"]
        )
        return {owner["name"] for owner in owners if owner["kind"] == "Pod"}

    def remove(self):
        """Remove it; what waits in it waits for ever."""
        kubectl("--namespace", self.namespace, "delete", "localqueue", self.name)
        kubectl("delete", "clusterqueue", self.cluster_queue, "--wait=false")


def _object(kind, name, namespace=None, **fields):
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": _API, "kind": kind, "metadata": metadata, **fields}
