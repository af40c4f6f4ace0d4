"""Runs as Kubeflow Pipelines answers for them, and what lossmap makes of them."""

import pytest
from fakes.pipelines_api import Pipelines, serving

from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import ClusterError, ExperimentError
from lossmap.pipelines.cluster.kubeflow import Away, Kubeflow
from lossmap.pipelines.cluster.submit import start_again

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def pipelines():
    return Pipelines()


@pytest.fixture
def kubeflow(pipelines):
    with serving(pipelines) as address:
        yield Kubeflow(Settings(pipelines=address))


def _found(kubeflow, pipelines, name):
    return kubeflow.find(pipelines.runs[name]["run_id"])


@pytest.mark.parametrize(
    ("name", "called", "state"),
    [
        ("failed", "SUCCEEDED", "FAILED"),
        ("lost tiles", "SUCCEEDED", "SUCCEEDED"),
        ("cancelled", "FAILED", "CANCELLED"),
        ("cached", "SUCCEEDED", "SUCCEEDED"),
    ],
)
def test_the_state_is_what_became_of_the_report_whatever_the_backend_calls_the_run(
    kubeflow, pipelines, name, called, state
):
    assert pipelines.runs[name]["state"] == called
    run = _found(kubeflow, pipelines, name)
    assert run.state == state
    assert run.ended


@pytest.mark.parametrize(
    ("history", "state"), [(["PENDING", "RUNNING"], "RUNNING"), (["RUNNING", "CANCELING"], "CANCELLING")]
)
def test_a_run_that_goes_on_has_not_ended(kubeflow, pipelines, history, state):
    pipelines.runs["going on"] |= {
        "state": history[-1],
        "state_history": [{"state": each} for each in history],
    }
    task = next(
        task
        for task in pipelines.runs["going on"]["run_details"]["task_details"]
        if task["display_name"] == "train"
    )
    task |= {"state": "RUNNING", "end_time": "0001-01-01T00:00:00Z"}
    run = _found(kubeflow, pipelines, "going on")
    assert (run.state, run.ended, run.finished) == (state, False, None)
    assert [(step.state, step.seconds) for step in run.steps if step.name == "train"] == [("RUNNING", None)]


def test_cancelled_is_final_also_where_the_backend_has_a_state_for_it(kubeflow, pipelines):
    pipelines.runs["cancelled"]["state"] = "CANCELED"
    assert _found(kubeflow, pipelines, "cancelled").state == "CANCELLED"


def test_steps_come_in_the_order_of_the_chain_with_their_states(kubeflow, pipelines):
    states = [(step.name, step.state) for step in _found(kubeflow, pipelines, "lost tiles").steps]
    done = ("prepare", "train", "plan"), ("merge", "report", "clean-up")
    assert states == [
        *((name, "SUCCEEDED") for name in done[0]),
        ("tile", "FAILED"),
        ("tile", "FAILED"),
        *((name, "SUCCEEDED") for name in done[1]),
    ]
    assert [step.state for step in _found(kubeflow, pipelines, "cached").steps if step.name == "merge"] == [
        "CACHED"
    ]
    assert [(step.name, step.state) for step in _found(kubeflow, pipelines, "failed").steps][:2] == [
        ("prepare", "FAILED"),
        ("train", "SKIPPED"),
    ]
    assert _found(kubeflow, pipelines, "lost tiles").steps[0].seconds == 14


def test_a_name_finds_the_newest_run_of_it(kubeflow, pipelines):
    older = pipelines.runs["cached"]
    pipelines.runs["newer"] = {
        **pipelines.runs["failed"],
        "run_id": "newer",
        "display_name": older["display_name"],
        "created_at": "2027-01-01T00:00:00Z",
    }
    run = kubeflow.find(older["display_name"])
    assert (run.id, run.study) == ("newer", "study")


def test_an_unknown_run_is_told_with_the_newest_known(kubeflow, pipelines):
    newest = [
        run["display_name"]
        for run in sorted(pipelines.runs.values(), key=lambda run: run["created_at"], reverse=True)
    ]
    with pytest.raises(ClusterError) as refused:
        kubeflow.find("nothing")
    assert str(refused.value).startswith(
        f"Kubeflow Pipelines has no run nothing; the newest are {newest[0]}, "
    )


def test_however_old_a_run_is_its_id_finds_it_without_a_list(kubeflow, pipelines):
    template = pipelines.runs["cached"]
    for number in range(150):
        run = {"run_id": f"newer-{number}", "created_at": f"2027-01-01T00:{number % 60:02}:00Z"}
        pipelines.runs[f"newer {number}"] = {**template, **run}
    pipelines.requests.clear()
    assert _found(kubeflow, pipelines, "failed").id == pipelines.runs["failed"]["run_id"]
    assert not [request for request in pipelines.requests if request.endswith("/runs")]


def test_an_id_that_no_run_has_is_told(kubeflow):
    with pytest.raises(
        ClusterError, match=r"^Kubeflow Pipelines has no run 00000000-0000-0000-0000-00000000000"
    ):
        kubeflow.find("00000000-0000-0000-0000-000000000000")


def test_an_api_that_is_away_for_a_moment_is_asked_again_by_whoever_follows_a_run(
    kubeflow, pipelines, monkeypatch
):
    monkeypatch.setattr("lossmap.pipelines.cluster.kubeflow._PAUSE_SECONDS", 0.01)
    run = pipelines.runs["cached"]["run_id"]
    pipelines.failures = [503]
    with pytest.raises(Away):
        kubeflow.find(run)
    pipelines.failures = [503, 502, 503]
    assert kubeflow.find(run, patience=10).state == "SUCCEEDED"
    pipelines.failures = [500]
    with pytest.raises(ClusterError, match="as told"):
        kubeflow.find(run, patience=10)


def _numbered(pipelines, name):
    """A run as Kubeflow Pipelines 2.17 tells it: each node has attempts beneath it, or is one."""
    for task in pipelines.runs[name]["run_details"]["task_details"]:
        task["display_name"] = f"{task['display_name']}(0)"
    return pipelines.runs[name]["run_id"]


def test_the_steps_of_kubeflow_pipelines_2_17_have_the_same_names(kubeflow, pipelines):
    steps = _found(kubeflow, pipelines, "cached").steps
    assert kubeflow.find(_numbered(pipelines, "cached")).steps == steps


def test_an_attempt_beside_its_step_is_no_step_of_its_own(kubeflow, pipelines):
    steps = _found(kubeflow, pipelines, "cached").steps
    tasks = pipelines.runs["cached"]["run_details"]["task_details"]
    tasks += [{**task, "display_name": f"{task['display_name']}(0)", "state": "FAILED"} for task in tasks]
    assert _found(kubeflow, pipelines, "cached").steps == steps


def test_where_there_are_profiles_people_are_known_by_their_token(tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.write_text("of-alice")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(token))
    pipelines = Pipelines(profile="alice", token="of-alice")
    with serving(pipelines) as address:
        kubeflow = Kubeflow(Settings(pipelines=address, namespace="alice"))
        assert kubeflow.submit(PACKAGE, "run", "study") == "new"
        assert _found(kubeflow, pipelines, "cached").state == "SUCCEEDED"
        with pytest.raises(ClusterError, match="no user identity header"):
            _with_token(monkeypatch, None, address)
        with pytest.raises(ClusterError) as refused:
            _with_token(monkeypatch, tmp_path / "none", address)
    assert str(refused.value) == (
        f"KF_PIPELINES_SA_TOKEN_PATH is {tmp_path}/none, which cannot be read; name a file with a token"
    )


PACKAGE = """\
pipelineInfo: {name: lossmap}
root: {dag: {tasks: {}}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.3
"""


def _with_token(monkeypatch, path, address):
    if path:
        monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(path))
    else:
        monkeypatch.delenv("KF_PIPELINES_SA_TOKEN_PATH")
    Kubeflow(Settings(pipelines=address, namespace="alice")).require()


def test_a_page_to_log_in_is_no_api(pipelines):
    pipelines.page = "<!doctype html><title>Sign in</title>"
    with serving(pipelines) as address, pytest.raises(ClusterError) as refused:
        Kubeflow(Settings(pipelines=address))
    assert str(refused.value) == (
        f"{address} answers with a page and not as Kubeflow Pipelines' API, perhaps to log in; name its API"
        " with LOSSMAP_PIPELINES, and a token with KF_PIPELINES_SA_TOKEN_PATH"
    )


def test_a_refusal_is_told_at_once(pipelines):
    pipelines.failures = [403]
    with serving(pipelines) as address, pytest.raises(ClusterError, match=r"^Kubeflow Pipelines refuses: as"):
        Kubeflow(Settings(pipelines=address))
    assert len(pipelines.requests) == 1


def test_without_profiles_no_request_names_a_namespace(pipelines):
    with serving(pipelines) as address:
        kubeflow = Kubeflow(Settings(pipelines=address, namespace="elsewhere"))
        assert _found(kubeflow, pipelines, "cached").state == "SUCCEEDED"
        assert kubeflow.lookup("nothing") is None


def test_a_retry_is_the_same_pipeline_under_the_same_name(kubeflow, pipelines):
    pipelines.runs["failed"]["pipeline_spec"] = {"pipelineInfo": {"name": "lossmap"}}
    assert start_again(kubeflow, _found(kubeflow, pipelines, "failed")) == "new"
    [started] = pipelines.started
    assert started["display_name"] == pipelines.runs["failed"]["display_name"]
    assert started["pipeline_spec"] == {"pipelineInfo": {"name": "lossmap"}}
    assert started["service_account"] == "lossmap-run"


def test_what_has_succeeded_or_goes_on_is_not_retried(kubeflow, pipelines):
    pipelines.runs["going on"]["state"], pipelines.runs["going on"]["state_history"] = "RUNNING", []
    for name, message in (
        ("cached", "has succeeded; there is nothing to retry"),
        ("going on", "is running; end it first: lossmap cancel "),
    ):
        with pytest.raises(ExperimentError) as refused:
            start_again(kubeflow, _found(kubeflow, pipelines, name))
        assert message in str(refused.value)


def test_an_api_that_is_away_is_one_line():
    with pytest.raises(ClusterError) as refused:
        Kubeflow(Settings(pipelines="http://127.0.0.1:9"))
    expected = (
        "Kubeflow Pipelines is out of reach: [Errno 111] Connection refused; check KUBECONFIG,"
        " LOSSMAP_PIPELINES and LOSSMAP_NAMESPACE"
    )
    assert str(refused.value) == expected
