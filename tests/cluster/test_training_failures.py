"""What is wrong with a training is told in one line, and soon."""

import pytest
from cluster.launching import TRAINERS, experiment, launch, require_trainer

from lossmap.components.config.cluster import Resources
from lossmap.components.stores import layout

pytestmark = pytest.mark.cluster

SOON = 30  # seconds after the creation of the job


@pytest.fixture(params=TRAINERS)
def trainer(request):
    """A kind of training job that the cluster has."""
    require_trainer(request.param)
    return request.param


@pytest.fixture
def launched(trainer, installation, run_namespace, s3_forward):
    """Launches a training in a new namespace with restricted Pod Security."""

    def launched(asked, **options):
        cluster = asked.cluster.model_copy(update={"trainer": trainer})
        return launch(
            run_namespace, asked.model_copy(update={"cluster": cluster}), installation.image, **options
        )

    return launched


def _last_line(run):
    assert run.until_it_ends() == 1
    return run.log().splitlines()[-1]


def _until_told(run, text):
    run.until(lambda: f"created {run.kind.name}" in run.log(), what="the job")
    print(f"told after {run.until(lambda: text in run.log(), SOON, text):.0f} s")


def test_an_experiment_that_cannot_be_carried_out_is_told_by_its_field(launched):
    run = launched(experiment(batch_size=128))
    assert (
        _last_line(run)
        == "TrainingError: training failed: training.batch_size is 128, expected at most the number of"
        " training images (96)"
    )
    assert run.left() == []


def test_a_training_that_raises_is_told_by_rank_and_exception(launched):
    run = launched(experiment())
    run.store.write(layout.training_computation(run.training), b"{}")
    assert _last_line(run).startswith("TrainingError: training failed: rank ")
    assert "ValidationError: " in _last_line(run)
    assert any(line.startswith("rank 0: Traceback") for line in run.log().splitlines())
    assert run.left() == []


def test_an_image_that_does_not_exist_is_told_and_not_waited_for(launched):
    image = "docker.io/lossmap/lossmap:there-is-none"
    run = launched(experiment(), training_image=image)
    _until_told(run, f"image {image} cannot be pulled: ")
    assert _last_line(run).startswith(
        f"TrainingError: training cannot start: image {image} cannot be pulled: "
    )
    assert run.left() == []


def test_a_request_that_fits_no_node_is_told_and_waited_for_as_long_as_asked(launched):
    run = launched(experiment(training=Resources(cpu="1000"), start_minutes=0.5))
    _until_told(run, f"no node for pod {run.pod(0)}: ")
    expected = (
        "TrainingError: training did not start within cluster.start_minutes (0.5): no node for pod"
        f" {run.pod(0)}: "
    )
    assert _last_line(run).startswith(expected) and "Insufficient cpu" in _last_line(run)
    assert run.left() == []


def test_want_of_memory_is_told_with_the_limit_and_the_field(launched):
    # PyTorch alone takes more
    run = launched(experiment(training=Resources(cpu="300m", cpu_limit="2", memory="150Mi")))
    cure = (
        "ran out of memory; its limit is 150Mi: raise cluster.training.memory, or lower training.batch_size"
    )
    last = _last_line(run)
    assert last.startswith("TrainingError: training failed: pod train-") and last.endswith(cure)
    assert run.left() == []
