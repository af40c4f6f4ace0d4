"""A training on a cluster, as a pipeline's step starts it: by a pod with the account of the steps."""

import time
import uuid
from dataclasses import dataclass

import torch
from cluster.kubectl import RESTRICTED, apply, get, kubectl
from safetensors.torch import load

from lossmap.components import steps
from lossmap.components.config.cluster import Cluster, Resources
from lossmap.components.config.data import Blobs, Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.models import ResNet
from lossmap.components.config.settings import Settings
from lossmap.components.config.training import Optimizer, Schedule, Training
from lossmap.components.jobs.kinds import CRDS, KINDS
from lossmap.components.jobs.request import Request, name_of
from lossmap.components.stores import layout
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.pipelines.local import open_run

_PODS = Resources(cpu="300m", cpu_limit="2", memory="1Gi")

_LAUNCH = """
import sys
from lossmap.components import steps
from lossmap.components.core.errors import LossmapError
from lossmap.components.core.progress import Printed
from lossmap.components.config.settings import Settings
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.training.listen import Listeners

settings = Settings()
listeners = Listeners(Printed("train", 2.0), lambda metrics: print("epoch", metrics["epoch"], flush=True))
try:
    steps.as_job(settings)(Run(open_store(settings.store), settings.run), listeners)
except LossmapError as error:
    print(f"{type(error).__name__}: {error}", flush=True)
    sys.exit(error.exit_code)
"""

# Nothing within a pod can kill its first process, so that the launcher is the second one.
_PARENT = """
import signal, subprocess, sys
launcher = subprocess.Popen([sys.executable, "-c", sys.argv[1], "launcher"])
signal.signal(signal.SIGTERM, lambda *_: launcher.terminate())
sys.exit(abs(launcher.wait()))
"""

_KILL = """
import os, pathlib
lines = pathlib.Path("/proc").glob("[0-9]*/cmdline")
[found] = [path for path in lines if path.read_bytes().endswith(b"\\0launcher\\0")]
os.kill(int(found.parent.name), 9)
"""


TRAINERS = ["pytorchjob", "trainjob"]


def trainers():
    """The kinds of training jobs that the cluster has, as cluster.trainer calls them."""
    crds = [CRDS[trainer] for trainer in TRAINERS]
    found = kubectl("get", "customresourcedefinition", *crds, "--ignore-not-found", "--output=name")
    return [trainer for trainer in TRAINERS if f"/{CRDS[trainer]}\n" in found]


def same_weights(store, training, expected):
    """Whether a training came to these bits."""
    weights = load(store.read(layout.weights(training)))
    return weights.keys() == expected.keys() and all(
        torch.equal(weights[name], expected[name]) for name in expected
    )


def experiment(epochs=40, batch_size=24, seed=0, **cluster):
    """Two processes that train a small network on blobs, and save after every step."""
    training = Training(
        epochs=epochs,
        batch_size=batch_size,
        processes=2,
        optimizer=Optimizer(learning_rate=0.05, nesterov=True, weight_decay=1e-3),
        schedule=Schedule(warmup_epochs=0.5),
        checkpoint_seconds=0.0,
        seed=seed,
    )
    data = Data(source="blobs", blobs=Blobs(classes=3, train_per_class=32, test_per_class=7))
    asked = Cluster(training=_PODS, **cluster) if "training" not in cluster else Cluster(**cluster)
    return Experiment(name="test", data=data, model=ResNet(depth=8), training=training, cluster=asked)


@dataclass(frozen=True)
class Launched:
    """A launcher in a namespace.

    Attributes:
        name: of the launcher's Job or Pod, and of the run.
        trainer: kind of its training job.
    """

    namespace: str
    name: str
    trainer: str

    @property
    def kind(self):
        return KINDS[self.trainer]

    @property
    def store(self):
        """A place of its own, so that equal trainings of other tests are not found there."""
        return open_store(_store(self.namespace))

    @property
    def training(self):
        return Run(self.store, self.name).training

    def kubectl(self, *arguments, **options):
        return kubectl("--namespace", self.namespace, *arguments, **options)

    def log(self):
        return self.kubectl("logs", self.name, "--container=launcher", check=False)

    def until(self, condition, seconds=200, what="the condition"):
        """Wait; returns the seconds it took."""
        start = time.monotonic()
        while not condition():
            assert time.monotonic() - start < seconds, (
                f"{what} does not hold after {seconds}"
                f" s\n{self.log()}\n{self.kubectl('get', 'pods,' + CRDS[self.trainer])}"
            )
            time.sleep(0.5)
        return time.monotonic() - start

    def until_it_ends(self, seconds=200):
        """Wait for the launcher; returns its exit code."""
        self.until(lambda: self._exit_code() is not None, seconds, "the end of the launcher")
        return self._exit_code()

    def _exit_code(self):
        statuses = get("pod", self.name, "--namespace", self.namespace)["status"].get("containerStatuses", ())
        ended = [
            each["state"]["terminated"]["exitCode"]
            for each in statuses
            if each["name"] == "launcher" and "terminated" in each["state"]
        ]
        return ended[0] if ended else None

    def until_epoch(self, epoch):
        return self.until(
            lambda: self.store.exists(layout.epoch_metrics(self.training, epoch)), 200, f"epoch {epoch}"
        )

    def kill(self):
        """Kill the launcher, without a word of warning."""
        self.kubectl("exec", self.name, "--", "python", "-c", _KILL)

    def pod(self, worker):
        """Name of the newest training pod of that index; TrainJobs' have names of chance at the end."""
        job = name_of(Request(self.training, self.name, "", Training(), Cluster(), 2))
        if self.trainer == "pytorchjob":
            return f"{job}-worker-{worker}"
        self.until(lambda: self._pods(f"{job}-node-0-{worker}-"), what="the pod")
        return self._pods(f"{job}-node-0-{worker}-")[-1]

    def _pods(self, prefix):
        """Names that begin like this, oldest pods first."""
        found = get("pods", "--namespace", self.namespace)["items"]
        names = sorted((each["metadata"]["creationTimestamp"], each["metadata"]["name"]) for each in found)
        return [name for _, name in names if name.startswith(prefix)]

    def left(self):
        """What is there of its training. A TrainJob that has ended stays, without pods, as its owner does."""
        jobs = {"pytorchjob": "pytorchjobs", "trainjob": "trainjobs,jobsets,jobs"}[self.trainer]
        found = get(f"{jobs},pods,services", "--namespace", self.namespace)["items"]
        return [
            f"{each['kind']} {each['metadata']['name']}"
            for each in found
            if each["metadata"]["name"].startswith("train-") and not is_ended_trainjob(each)
        ]


def is_ended_trainjob(found):
    """Whether it is a TrainJob that has trained to the end, which stays as long as its owner does."""
    conditions = found.get("status", {}).get("conditions", ())
    ended = any(each["type"] == "Complete" and each["status"] == "True" for each in conditions)
    return found["kind"] == "TrainJob" and ended


def launch(namespace, asked, image, owned=False, training_image=None):
    """Prepare a run and launch its training by a pod.

    Args:
        namespace: with what k8s/base puts into it.
        asked: the experiment.
        image: of the launcher.
        owned: whether the pod has a controller that outlives it, as a pipeline's Workflow does.
        training_image: of the training, where it is another: that of the container `main`, which then is not
            the launcher.
    """
    name = f"launcher-{uuid.uuid4().hex[:8]}"
    steps.prepare(open_run(name, Settings(store=_store(namespace))), asked)
    pod = _launcher(namespace, name, image, _owner(namespace) if owned else [])
    if training_image:
        pod["spec"]["containers"].append(
            {**pod["spec"]["containers"][0], "name": "main", "image": training_image}
        )
    apply(pod)
    return Launched(namespace, name, asked.cluster.trainer)


def _store(namespace):
    return f"s3://lossmap/{namespace}"


def _owner(namespace):
    uid = get("configmap", "lossmap", "--namespace", namespace)["metadata"]["uid"]
    return [{"apiVersion": "v1", "kind": "ConfigMap", "name": "lossmap", "uid": uid, "controller": True}]


def _launcher(namespace, name, image, owners):
    container = {
        "name": "launcher",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", _PARENT, _LAUNCH],
        "env": [
            {"name": "LOSSMAP_RUN", "value": name},
            {"name": "LOSSMAP_STORE", "value": _store(namespace)},
        ],
        "envFrom": [{"configMapRef": {"name": "lossmap"}}, {"secretRef": {"name": "lossmap-object-store"}}],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
        "securityContext": RESTRICTED,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    spec = {
        "restartPolicy": "Never",
        "serviceAccountName": "lossmap-run",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    metadata = {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/name": "test"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**metadata, "ownerReferences": owners},
        "spec": spec,
    }
