"""What goes on in a run on a cluster: its steps, their logs, why it waits, why it failed."""

import re
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import ClusterError, LossmapError
from lossmap.components.jobs.deployment import STEP_BEGINS, STEP_ENDS, of_pipeline_run
from lossmap.pipelines.cluster.kubeflow import PATIENCE_SECONDS, Kubeflow, PipelineRun, without_attempt
from lossmap.pipelines.stages import Say

if TYPE_CHECKING:
    from lossmap.components.jobs.connection import Api

_NODE_NAME = "workflows.argoproj.io/node-name"
_POLL_SECONDS = 2.0
_LOG_SECONDS = 10.0
# What Argo, Kubeflow's launcher and its executor say of themselves around what a step says.
_NOISE = re.compile(
    r'^(time="?\d{4}-\d\d-\d\dT.*argo=true|\[KFP Executor |[IWEF]\d{4} \d\d:|Error: exit status)'
)
_PREFIX = re.compile(r"^[IWEF]\d{4} [^]]*] ")


@dataclass(frozen=True)
class StepPod:
    """The pod of a step's own code.

    Attributes:
        step: name of the step.
        pod: as the Kubernetes client gives it.
    """

    step: str
    pod: Any = field(repr=False)

    @property
    def name(self) -> str:
        """The pod's name."""
        return str(self.pod.metadata.name)

    @property
    def phase(self) -> str:
        """Pending, Running, Succeeded, Failed or Unknown."""
        return str(self.pod.status.phase)


def step_pods(api: "Api", settings: Settings, run: PipelineRun) -> list[StepPod]:
    """The pods of a run's steps, oldest first, without those of Kubeflow's drivers."""
    from lossmap.components.jobs.cluster import pods

    return steps_among(pods(settings.namespace, of_pipeline_run(run.id), api))


def steps_among(pods: Iterable[Any]) -> list[StepPod]:
    """Those of a run's pods that carry out its steps."""
    found = [(step_of(_node_of(pod)), pod) for pod in pods]
    return [StepPod(step, pod) for step, pod in found if step]


def step_of(node: str) -> str | None:
    """The step that a node of Argo carries out: train of lossmap-5h2zz.root.exit-handler-1.train.executor, in
    Kubeflow Pipelines 2.17 of lossmap-5h2zz.root(0).exit-handler-1(0).train(0).executor(0). None for a node
    of Kubeflow's own, such as a driver.
    """
    path = _path(node)
    is_step = len(path) > 1 and path[-1].startswith(("executor", "retry"))
    return path[-2] if is_step else None


def _path(node: str) -> list[str]:
    return [without_attempt(name) for name in node.split(".")]


def _node_of(pod: Any) -> str:
    return str((pod.metadata.annotations or {}).get(_NODE_NAME, ""))


def own_lines(lines: Iterator[str]) -> Iterator[str]:
    """Of a step's log what the step itself said; all of it where the step did not come to say anything."""
    before: list[str] = []
    for line in lines:
        before.append(line)
        if line == STEP_BEGINS:
            own = takewhile(lambda text: text != STEP_ENDS, lines)
            yield from (text for text in own if not _NOISE.match(text))
            return
    yield from (text for text in before if not _NOISE.match(text))


def step_log(api: "Api", settings: Settings, pod: StepPod, follow: bool) -> Iterator[str]:
    """The lines of a step."""
    from lossmap.components.jobs.cluster import pod_log

    return own_lines(pod_log(settings.namespace, pod.name, "main", follow, api))


def waiting(api: "Api", settings: Settings, run: PipelineRun) -> list[str]:
    """Why pods of a run do not start, and why its training waits in a queue, one line each; the training's
    own pods among them.
    """
    from lossmap.components.jobs.waiting import waiting_jobs, waiting_pods

    of_run = (api, settings.namespace, of_pipeline_run(run.id))
    return [*waiting_jobs(*of_run), *waiting_pods(*of_run)]


def cause(api: "Api", settings: Settings, run: PipelineRun) -> str:
    """Why a run failed: its first failed step, and the error that this ended with."""
    failed = [step for step in run.steps if step.state == "FAILED"]
    if not failed:
        return "no step of it failed; look at Kubeflow's page of the run"
    step = min(failed, key=lambda step: str(step.started)).name
    pods = [pod for pod in _step_and_driver(api, settings, run, step) if pod.phase == "Failed"]
    if not pods:
        return f"{step}: its pod is gone, or never started; see: lossmap logs {run.name}"
    return f"{step}: {_failure(api, settings, pods[-1])}"  # the last attempt's


def _step_and_driver(api: "Api", settings: Settings, run: PipelineRun, step: str) -> list[StepPod]:
    """The pods of a step: those of Kubeflow's driver, which may have failed before it, first."""
    from lossmap.components.jobs.cluster import pods

    found = pods(settings.namespace, of_pipeline_run(run.id), api)
    drivers = [StepPod(step, pod) for pod in found if _path(_node_of(pod))[-1] == f"{step}-driver"]
    return drivers + [pod for pod in steps_among(found) if pod.step == step]


def _failure(api: "Api", settings: Settings, pod: StepPod) -> str:
    from lossmap.components.jobs.cluster import pod_log

    try:
        said = list(pod_log(settings.namespace, pod.name, "main", api=api))
    except ClusterError as error:
        return str(error)
    lines = list(own_lines(iter(said)))
    if _is_out_of_memory(pod):
        section = "survey" if pod.step in ("tile", "merge") else "steps"
        return f"out of memory; raise cluster.{section}.memory"
    errors = [line.removeprefix("lossmap: ") for line in lines if line.startswith("lossmap: ")]
    if errors:
        return errors[-1]
    texts = [line for line in lines or said if line.strip()]  # a driver says nothing else than noise
    words = _PREFIX.sub("", texts[-1]) if texts else pod.pod.status.message
    return words or "it ended without a word"


def _is_out_of_memory(pod: StepPod) -> bool:
    ends = [
        container.state.terminated
        for container in pod.pod.status.container_statuses or ()
        if container.name == "main"
    ]
    return bool(ends and ends[0] and ends[0].reason == "OOMKilled")


def follow_to_end(kubeflow: Kubeflow, api: "Api", settings: Settings, name: str, say: Say) -> PipelineRun:
    """Tell what goes on in a run until it has ended: steps, their lines, and reasons to wait, once each.
    Returns it as it ended.
    """
    from lossmap.components.jobs.waiting import waiting_pods  # why a job waits, its step says

    lock, seen, threads = threading.Lock(), set[str](), dict[str, threading.Thread]()

    def tell(line: str) -> None:
        with lock:
            say(line)

    while True:
        run = kubeflow.find(name, PATIENCE_SECONDS)
        for pod in step_pods(api, settings, run):
            if pod.name not in threads and pod.phase != "Pending":
                threads[pod.name] = threading.Thread(
                    target=_stream, args=(api, settings, pod, tell), daemon=True
                )
                threads[pod.name].start()
        reasons = waiting_pods(api, settings.namespace, of_pipeline_run(run.id))
        for line in [*_changes(run), *(f"waiting: {reason}" for reason in reasons)]:
            if line not in seen:
                seen.add(line)
                tell(line)
        if run.ended:
            break
        time.sleep(_POLL_SECONDS)
    for thread in threads.values():
        thread.join(_LOG_SECONDS)
    return run


def _changes(run: PipelineRun) -> Iterator[str]:
    for number, step in enumerate(run.steps):
        if step.state in ("SUCCEEDED", "CACHED", "FAILED"):
            share = sum(other.name == step.name for other in run.steps[:number])
            name = f"{step.name} {share + 1}" if share else step.name
            duration = "" if step.seconds is None else f" ({step.seconds:.0f} s)"
            yield f"{name}: {step.state.lower()}{duration}"


def _stream(api: "Api", settings: Settings, pod: StepPod, tell: Say) -> None:
    try:
        for line in step_log(api, settings, pod, follow=True):
            tell(f"  {pod.step} | {line}")
    except LossmapError as error:
        tell(f"  {pod.step} | its log cannot be read: {error}")
