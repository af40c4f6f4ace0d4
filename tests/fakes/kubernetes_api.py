"""A Kubernetes API server of a few routes, over HTTP, that is away, cuts connections and refuses as it is
told.

It knows PyTorchJobs or TrainJobs, pods, their logs and their ports, events, services, endpoints, accounts,
ConfigMaps, Secrets, Kueue's workloads and access reviews. Nothing happens by itself but what `on_create` and
`on_delete` do; a test plays the operator and the kubelet.
"""

import base64
import hashlib
import json
import re
import struct
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

NAMESPACE = "tests"
_TRAINER = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/tests"
_ROUTES = {
    "pytorchjobs": r"/apis/kubeflow.org/v1/namespaces/tests/pytorchjobs(?:/(?P<name>[^/]+))?",
    "trainjobs": rf"{_TRAINER}/trainjobs(?:/(?P<name>[^/]+))?",
    "trainingruntimes": rf"{_TRAINER}/trainingruntimes/(?P<name>[^/]+)",
    "jobsets": r"/apis/jobset.x-k8s.io/v1alpha2/namespaces/tests/jobsets/(?P<name>[^/]+)",
    "jobs": r"/apis/batch/v1/namespaces/tests/jobs/(?P<name>[^/]+)",
    "log": r"/api/v1/namespaces/tests/pods/(?P<name>[^/]+)/log",
    "pods": r"/api/v1/namespaces/tests/pods(?:/(?P<name>[^/]+))?",
    "endpoints": r"/api/v1/namespaces/tests/endpoints/(?P<name>[^/]+)",
    "portforward": r"/api/v1/namespaces/tests/pods/(?P<name>[^/]+)/portforward",
    "secrets": r"/api/v1/namespaces/tests/secrets/(?P<name>[^/]+)",
    "serviceaccounts": r"/api/v1/namespaces/tests/serviceaccounts/(?P<name>[^/]+)",
    "configmaps": r"/api/v1/namespaces/tests/configmaps/(?P<name>[^/]+)",
    "services": r"/api/v1/namespaces/tests/services",
    "events": r"/api/v1/namespaces/tests/events",
    "workloads": r"/apis/kueue.x-k8s.io/v1beta2/namespaces/tests/workloads",
    "pendingworkloads": (
        r"/apis/visibility.kueue.x-k8s.io/v1beta2/namespaces/tests/localqueues/(?P<name>[^/]+)/pendingworkloads"
    ),
    "workflows": r"/apis/argoproj.io/v1alpha1/namespaces/tests/workflows/(?P<name>[^/]+)",
    "selfsubjectaccessreviews": r"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    "core": r"/api/v1/?",
    "groups": r"/apis/?",
    "kinds": r"/apis/(?P<name>[^/]+)/v1(?:alpha1)?",
}


@dataclass(frozen=True)
class Operator:
    """What is known of an operator's jobs: how they are called, and how their pods are labelled."""

    jobs: str
    group: str
    version: str
    label: str
    container: str
    succeeded: str


TRAINING_OPERATOR = Operator(
    "pytorchjobs", "kubeflow.org", "v1", "training.kubeflow.org/job-name", "pytorch", "Succeeded"
)
TRAINER = Operator(
    "trainjobs",
    "trainer.kubeflow.org",
    "v1alpha1",
    "jobset.sigs.k8s.io/jobset-name",
    "node",
    "Complete",
)


class Cluster:
    """What the server has; tests change it at will.

    Args:
        operator: of its training jobs.

    Attributes:
        objects: by kind, then name.
        logs: lines with their time stamps, by pod and number of restarts.
        forbidden: kinds that are answered with 403.
        failures: statuses with which the next requests are answered.
        retry_after: seconds that a failed request is asked to wait; None: nothing is said.
        requests: what was asked, as `GET pods`.
        policies: of propagation, of the deletions.
    """

    def __init__(self, operator=TRAINING_OPERATOR):
        self.operator = operator
        self.objects = {kind: {} for kind in _ROUTES}
        self.logs = {}
        self.forbidden, self.failures, self.requests, self.policies = set(), [], [], []
        self.retry_after = None
        self.on_create = lambda job: None
        self.on_delete = self.remove
        self.refused_verbs = {("delete", "pytorchjobs")}
        self.groups = {operator.group: [operator.jobs, f"{operator.jobs}/status"], "apps": ["deployments"]}
        self._away_until, self._cuts, self._uids = 0.0, 0, 0
        self._lock = threading.RLock()

    def go_away(self, seconds):
        """Drop every connection, old and new, for some seconds."""
        self._away_until = time.monotonic() + seconds
        self.cut()

    def cut(self):
        """End every stream in the middle of a line."""
        self._cuts += 1

    def add_pod(self, name, job=None, **status):
        """A pod with one container that runs, unless its status says something else."""
        labels = {self.operator.label: job} if job else {}
        pod = {
            "metadata": self._metadata(name, labels),
            "spec": {"containers": [{"name": self.operator.container, "image": "image:1"}]},
        }
        running = {"phase": "Running", "containerStatuses": [self.container(running={})]}
        self.objects["pods"][name] = pod | {"status": status or running}
        self.logs[name, 0] = []
        return pod

    @property
    def jobs(self):
        """Its training jobs by name."""
        return self.objects[self.operator.jobs]

    def container(self, **fields):
        """The status of a container that trains."""
        return container(name=self.operator.container, **fields)

    def serve(self, service, *pods):
        """A service whose ready pods are these; each of them answers any request with its name."""
        addresses = [{"ip": "10.0.0.1", "targetRef": {"kind": "Pod", "name": pod}} for pod in pods]
        subset = {"addresses": addresses, "ports": [{"port": 8080}]}
        self.objects["endpoints"][service] = {
            "metadata": self._metadata(service, {}),
            "subsets": [subset] if pods else [],
        }

    def print(self, pod, line, restarts=None):
        """Print a line in a pod's log."""
        restarts = self.restarts(pod) if restarts is None else restarts
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
        self.logs.setdefault((pod, restarts), []).append(f"{stamp} {line}")

    def restart(self, pod, exit_code, reason="Error"):
        """End a pod's container and start it again."""
        ended = {
            "terminated": {
                "exitCode": exit_code,
                "reason": reason,
                "finishedAt": datetime.now(UTC).isoformat(),
            }
        }
        self.logs[pod, self.restarts(pod) + 1] = []
        self.status(pod)["containerStatuses"] = [
            self.container(running={}, restarts=self.restarts(pod) + 1, last=ended)
        ]

    def restarts(self, pod):
        """How often a pod's container was restarted."""
        return (self.status(pod).get("containerStatuses") or [{"restartCount": 0}])[0]["restartCount"]

    def status(self, pod):
        """A pod's status."""
        return self.objects["pods"][pod]["status"]

    def finish(self, job, kind, message=""):
        """End a job and its pods."""
        conditions = self.jobs[job].setdefault("status", {}).setdefault("conditions", [])
        for pod in self._pods_of(job):
            pod["status"]["phase"] = kind
        state = self.operator.succeeded if kind == "Succeeded" else kind
        conditions.append({"type": state, "status": "True", "message": message})

    def suspend(self, job, suspended):
        """Hold a job back, or let it go on."""
        specification = self.jobs[job]["spec"]
        (specification.get("runPolicy") or specification)["suspend"] = suspended

    def queue(self, of, *conditions, place):
        """Kueue's Workload of a job or pod, and its place in the queue that it is labelled with."""
        owner, name = {"uid": of["metadata"]["uid"]}, f"workload-{of['metadata']['name']}"
        metadata = {"name": name, "labels": {}, "ownerReferences": [owner]}
        self.objects["workloads"][name] = {"metadata": metadata, "status": {"conditions": list(conditions)}}
        pending = {"metadata": {"name": name}, "positionInClusterQueue": place - 1}
        queue = of["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
        self.objects["pendingworkloads"].setdefault(queue, {"items": []})["items"].append(pending)

    def remove(self, job):
        """Delete a job with its pods and services."""
        with self._lock:
            self.jobs.pop(job, None)
            for pod in self._pods_of(job):
                self.objects["pods"].pop(pod["metadata"]["name"])

    def event(self, of, message):
        """A warning about an object."""
        name = f"event-{len(self.objects['events'])}"
        metadata = self._metadata(name, {})
        self.objects["events"][name] = {
            "metadata": metadata,
            "involvedObject": {"uid": of["metadata"]["uid"]},
            "type": "Warning",
            "message": message,
        }

    def _pods_of(self, job):
        return [
            pod
            for pod in self.objects["pods"].values()
            if pod["metadata"]["labels"].get(self.operator.label) == job
        ]

    def _metadata(self, name, labels):
        self._uids += 1
        return {
            "name": name,
            "namespace": NAMESPACE,
            "uid": f"uid-{self._uids}",
            "labels": labels,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        }

    def answer(self, method, kind, name, query, body):
        """Status and content of an answer."""
        with self._lock:
            self.requests.append(f"{method} {kind}")
            if kind in self.forbidden:
                return _refusal(403, f"{kind} is forbidden")
            if self.failures:
                return _refusal(self.failures.pop(0), "as told")
            return getattr(self, f"_{method.lower()}")(kind, name, query, body)

    def _get(self, kind, name, query, _):
        if kind == "core":
            return 200, {"groupVersion": "v1", "resources": []}
        if kind == "groups":
            versions = [self._version(group) for group in self.groups]
            return 200, {
                "groups": [
                    {"name": group, "versions": [each], "preferredVersion": each}
                    for group, each in zip(self.groups, versions, strict=True)
                ]
            }
        if kind == "kinds":
            resources = [
                {"name": each, "kind": each, "namespaced": True, "singularName": "", "verbs": []}
                for each in self.groups[name]
            ]
            return 200, {"groupVersion": self._version(name)["groupVersion"], "resources": resources}
        if name:
            found = self.objects[kind].get(name)
            return (200, found) if found else _refusal(404, f"{kind} {name} not found")
        return 200, {"items": [each for each in self.objects[kind].values() if _selected(each, query)]}

    def _version(self, group):
        version = self.operator.version if group == self.operator.group else "v1"
        return {"groupVersion": f"{group}/{version}", "version": version}

    def _post(self, kind, _name, _query, body):
        if kind == "selfsubjectaccessreviews":
            asked = body["spec"]["resourceAttributes"]
            return 201, body | {
                "status": {"allowed": (asked["verb"], asked["resource"]) not in self.refused_verbs}
            }
        if body["metadata"]["name"] in self.objects[kind]:
            return _refusal(409, "already exists")
        body["metadata"] |= {
            key: value for key, value in self._metadata("", {}).items() if key in ("uid", "creationTimestamp")
        }
        self.objects[kind][body["metadata"]["name"]] = body
        self.on_create(body)
        return 201, body

    def _delete(self, kind, name, _query, body):
        if name not in self.objects[kind]:
            return _refusal(404, "not found")
        self.policies.append(body["propagationPolicy"])
        self.on_delete(name)
        return 200, {}

    def lines(self, name, query):
        """The lines of a log that come, and None as long as there may be more."""
        begun, given, uid = self._cuts, 0, self._uid(name)
        restarts = self.restarts(name) - (query.get("previous") == "true")
        kept = [
            line
            for line in self.logs.get((name, restarts), [])
            if line.split(" ")[0] >= query.get("sinceTime", "")[:19]
        ]
        skipped = len(self.logs.get((name, restarts), [])) - len(kept)
        while self._uid(name) == uid:
            for line in self.logs.get((name, restarts), [])[skipped + given :]:
                given += 1
                yield line
            if self._cuts != begun:
                yield None
                return
            if query.get("follow") != "true" or self._has_ended(name, restarts):
                return
            time.sleep(0.01)

    def _uid(self, pod):
        return self.objects["pods"].get(pod, {"metadata": {"uid": None}})["metadata"]["uid"]

    def _has_ended(self, name, restarts):
        return (
            name not in self.objects["pods"]
            or self.restarts(name) != restarts
            or self.status(name)["phase"] in ("Succeeded", "Failed")
        )

    @property
    def away(self):
        """Whether connections are dropped."""
        return time.monotonic() < self._away_until


def container(running=None, waiting=None, terminated=None, restarts=0, last=None, name="pytorch"):
    """A container's status."""
    state = {"running": running, "waiting": waiting, "terminated": terminated}
    fields = {
        "name": name,
        "image": "image:1",
        "imageID": "",
        "ready": True,
        "restartCount": restarts,
        "lastState": last or {},
    }
    return fields | {"state": {key: value for key, value in state.items() if value is not None}}


@contextmanager
def served(cluster):
    """The address of a server for a cluster."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"cluster": cluster}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def do_GET(self):
        self._answer()

    def do_POST(self):
        self._answer()

    def do_DELETE(self):
        self._answer()

    def log_message(self, *_):
        pass

    def _answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.cluster.away:
            self.close_connection = True
            return
        parts = urlparse(self.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        for kind, pattern in _ROUTES.items():
            if match := re.fullmatch(pattern, parts.path):
                self._route(kind, match.groupdict().get("name"), query, json.loads(body or "null"))
                return
        self._send(*_refusal(404, f"no route {parts.path}"))

    def _route(self, kind, name, query, body):
        if kind == "portforward" and name in self.cluster.objects["pods"]:
            self._forward(name)
        elif kind == "portforward":
            self._send(*_refusal(404, f"pod {name} not found"))
        elif kind == "log" and kind not in self.cluster.forbidden and name in self.cluster.objects["pods"]:
            self._stream(self.cluster.lines(name, query))
        else:
            self._send(
                *self.cluster.answer(self.command, "pods" if kind == "log" else kind, name, query, body)
            )

    def _send(self, status, content):
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if status in (429, 503) and self.cluster.retry_after is not None:
            self.send_header("Retry-After", str(self.cluster.retry_after))
        self.end_headers()
        self.wfile.write(text)

    def _forward(self, pod):
        """A web socket of one port, whose pod answers the first thing that it hears."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header(
            "Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        )
        self.send_header("Sec-WebSocket-Protocol", "v4.channel.k8s.io")
        self.end_headers()
        port = struct.pack("<H", 8080)
        answer = f"HTTP/1.0 200 OK\r\nContent-Length: {len(pod)}\r\n\r\n{pod}".encode()
        for frame in (b"\0" + port, b"\1" + port):  # the channels of the port, data and errors
            self.wfile.write(struct.pack("BB", 0x82, len(frame)) + frame)
        self.wfile.flush()
        self.rfile.read(2)  # the beginning of what the pod hears
        self.wfile.write(struct.pack("BB", 0x82, len(answer) + 1) + b"\0" + answer + b"\x88\0")
        self.close_connection = True

    def _stream(self, lines):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in lines:
            text = b"2026-01-01T00:00:00.0Z cut in the mid" if line is None else f"{line}\n".encode()
            self.wfile.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
            self.wfile.flush()
            if line is None:
                self.close_connection = True
                return
        self.wfile.write(b"0\r\n\r\n")


def _refusal(status, message):
    return status, {"kind": "Status", "message": message, "code": status}


def _selected(found, query):
    labels, uid = found["metadata"]["labels"], found.get("involvedObject", {}).get("uid")
    fields = dict(part.split("=") for part in query.get("fieldSelector", "").split(",") if part)
    if fields.get("involvedObject.uid", uid) != uid:
        return False
    selected = (part.split("=") for part in query.get("labelSelector", "").split(",") if part)
    return all(labels.get(key) == value for key, value in selected)
