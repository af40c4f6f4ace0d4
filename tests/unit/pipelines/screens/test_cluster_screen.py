"""What a person sees of runs on a cluster."""

import json

import pytest
from fakes.pipelines_api import Pipelines, serving

from lossmap.components.config.parse import override
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import ClusterError, ExperimentError
from lossmap.pipelines.recipes.registry import load
from lossmap.pipelines.screens import cluster as screen

pytestmark = pytest.mark.filterwarnings("default")


class _TakesOne(Pipelines):
    """It refuses every run but the first."""

    def _answer(self, method, path, query, body):
        if method == "POST" and path.endswith("/runs") and self.started:
            return 400, {"error": "no more runs"}
        return super()._answer(method, path, query, body)


def _submit(as_json):
    with serving(_TakesOne()) as address, pytest.raises(ClusterError, match="no more runs"):
        settings = Settings(pipelines=address, image="image:1")
        screen.submit_all([load("blobs-mlp"), load("digits-linear")], settings, True, as_json)


def test_a_run_that_was_started_is_told_although_the_next_one_fails(capsys):
    _submit(as_json=False)
    said = capsys.readouterr().out
    assert said.startswith("blobs-mlp-") and "Kubeflow's run new" in said and "digits-linear" not in said


def test_so_it_is_in_json(capsys):
    _submit(as_json=True)
    [started] = json.loads(capsys.readouterr().out)
    assert started["run"].startswith("blobs-mlp-") and started["pipeline_run"] == "new"


def test_one_pod_is_no_pods(capsys):
    one = ("training.processes=1", "cluster.survey_pods=1", "cluster.profile=gpu", "cluster.hours=1")
    screen.show_demands([override(load("blobs-mlp"), one)], as_json=False)
    said = capsys.readouterr().out
    assert "1 pod with 1 process, 1 GPU; each pod 8 CPU, 32Gi" in said
    assert "1 pod, 0 GPUs; each pod 4 CPU, 16Gi" in said
    assert "at most 1 hour of training" in said


def test_a_rank_of_another_step_than_the_training_is_refused():
    with pytest.raises(ExperimentError) as refused:
        screen.show_logs("run", Settings(), "tile", 1, follow=False)
    assert str(refused.value) == (
        "--rank is 1 and --step is tile, expected --step train or none: only the training has ranks"
    )
