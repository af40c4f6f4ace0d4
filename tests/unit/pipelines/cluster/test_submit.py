import pytest

from lossmap.components.config.cluster import Resources
from lossmap.components.config.data import NAMED_SOURCES
from lossmap.components.config.parse import override
from lossmap.components.core.errors import ExperimentError
from lossmap.pipelines.cluster import submit
from lossmap.pipelines.recipes.registry import load
from lossmap.pipelines.studies import cells as study
from lossmap.pipelines.studies import named as studies


def _experiment(*sets):
    return override(load("digits-resnet20"), sets)


def test_the_demand_counts_pods_gpus_tiles_and_points():
    asked = submit.demand(_experiment("landscape.tile_points=50", "cluster.survey_pods=3"))
    assert (asked.training_pods, asked.training_processes, asked.training_gpus) == (2, 2, 0)
    assert (asked.points, asked.tiles, asked.survey_pods, asked.survey_gpus) == (
        3 * (41 * 41 + 101),
        3 * 36 + 1,
        3,
        0,
    )
    assert (asked.images, asked.products) == (3 * (41 * 41 + 101) * 512, 1)


def test_the_gpu_profile_gives_every_training_process_one_and_every_survey_pod_one_where_it_can_use_it():
    sets = (
        "cluster.profile=gpu",
        "training.processes=8",
        "cluster.nodes=2",
        "cluster.survey_pods=1000",
        "landscape.line=null",
    )
    asked = submit.demand(_experiment(*sets))
    assert (asked.training_pods, asked.training_gpus, asked.survey_pods, asked.survey_gpus) == (
        2,
        8,
        3 * 36 + 1,
        0,
    )
    assert submit.demand(_experiment(*sets, "landscape.device=cuda")).survey_gpus == 3 * 36 + 1


def test_without_nodes_there_is_a_pod_for_each_process_or_one_for_all_gpus():
    assert submit.demand(_experiment("training.processes=4")).training_pods == 4
    assert submit.demand(_experiment("training.processes=4", "cluster.profile=gpu")).training_pods == 1


REFUSED = [
    (
        ("data.source=../images.zip",),
        (
            "data.source is '../images.zip', a path of this machine, expected one that pods can read: put it"
            " in S3 and give its s3:// URI"
        ),
    ),
    (
        (
            "model.architecture=multimodel",
            "data.source=tasks",
            "data.tasks=[images, wine]",
            "data.images=~/photos",
        ),
        (
            "data.images is '~/photos', a path of this machine, expected one that pods can read: put it in S3"
            " and give its s3:// URI"
        ),
    ),
    (
        (
            "model={architecture: imported, factory: 'a:b', trajectories: [{checkpoints: [s3://b/1, 2.pt]}]}",
            "training=null",
            "data.source=s3://b/x.npz",
        ),
        (
            "model.trajectories is '2.pt', a path of this machine, expected one that pods can read: put it in"
            " S3 and give its s3:// URI"
        ),
    ),
    (
        ("training.device=cuda",),
        "cluster.profile is 'cpu' and a device is 'cuda', expected cluster.profile=gpu, which asks for GPUs",
    ),
    (
        ("cluster.profile=gpu", "training.device=cpu"),
        (
            "cluster.profile is 'gpu' and training.device is 'cpu', expected training.device=auto, so that"
            " the GPUs are used"
        ),
    ),
    (
        ("cluster.trainer=trainjob", "cluster.priority_class=high"),
        (
            "cluster.priority_class is high, which a TrainJob cannot ask for; set priorityClassName in the"
            " TrainingRuntime lossmap (k8s/trainer), or cluster.trainer=pytorchjob"
        ),
    ),
]


@pytest.mark.parametrize(
    ("sets", "message"), REFUSED, ids=lambda value: value[0] if isinstance(value, tuple) else ""
)
def test_what_no_cluster_could_run_is_refused_before_anything_starts(sets, message):
    with pytest.raises(ExperimentError) as refused:
        submit.check_for_cluster(_experiment(*sets))
    assert str(refused.value) == message


# which nobody reads then
READABLE = [
    *((f"data.source={name}",) for name in NAMED_SOURCES),
    ("data.source=s3://bucket/images.zip",),
    (
        "model.architecture=multimodel",
        "data.source=tasks",
    ),
    (
        "model.architecture=multimodel",
        "data.source=tasks",
        "data.tasks=[images, wine]",
        "data.images=s3://bucket/images.zip",
    ),
    (
        "model.architecture=multimodel",
        "data.source=tasks",
        "data.tasks=[wine]",
        "data.images=~/photos",
    ),
]


@pytest.mark.parametrize("sets", READABLE, ids=" ".join)
def test_data_that_pods_can_read_is_taken(sets):
    assert _refusal(_experiment(*sets)) is None


def _refusal(experiment):
    try:
        submit.check_for_cluster(experiment)
    except ExperimentError as error:
        return str(error)
    return None


@pytest.mark.parametrize("scale", studies.SCALES)
@pytest.mark.parametrize("name", studies.STUDIES)
def test_every_cell_of_every_study_can_be_submitted(name, scale):
    cells = study.study_cells(studies.load(name, scale, (), None))
    assert cells
    assert {cell.run: refusal for cell in cells if (refusal := _refusal(cell.experiment))} == {}
    assert all(submit.demand(cell.experiment).tiles >= 1 for cell in cells)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["cluster.nodes=3"], "cluster.nodes is 3, expected a divisor of training.processes (2)"),
        (["cluster.profile=tpu"], "cluster.profile is 'tpu', expected 'cpu' or 'gpu'"),
        (
            ["cluster.nodes=2", "cluster.least_nodes=3"],
            "cluster: least_nodes is 3, expected at most nodes (2)",
        ),
        (
            ["training.processes=4", "training.batch_size=64", "cluster.nodes=4", "cluster.least_nodes=3"],
            "training.batch_size is 64, expected a multiple of the 3 processes on 3 nodes",
        ),
    ],
)
def test_an_impossible_cluster_is_refused(sets, message):
    with pytest.raises(ExperimentError) as refused:
        _experiment(*sets)
    assert str(refused.value) == message


def test_another_profile_brings_its_own_defaults_and_what_is_set_after_it_stays():
    cluster = _experiment("cluster.profile=gpu", "cluster.training.memory=64Gi").cluster
    assert (cluster.training.cpu, cluster.training.memory, cluster.shared_memory) == ("8", "64Gi", "8Gi")
    assert cluster.tolerations[0].key == "nvidia.com/gpu"


@pytest.mark.parametrize(
    ("resources", "limit"),
    [
        ({"cpu": "500m"}, "1"),
        ({"cpu": "1500m"}, "1500m"),
        ({"cpu": "4"}, "4"),
        ({"cpu": "100m", "cpu_limit": "2"}, "2"),
        ({"cpu": 2, "cpu_limit": 2.5}, "2.5"),
    ],
)
def test_a_pod_may_take_a_whole_core_of_an_idle_node(resources, limit):
    assert Resources(**resources).most_cpu == limit
