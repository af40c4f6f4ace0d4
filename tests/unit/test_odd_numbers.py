"""Numbers at the ends of their types: refused before anything starts, or right."""

import numpy as np
import pytest
from support.small_run import EXPERIMENT, survey

from lossmap.components.config.parse import override
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import ExperimentError
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.surveys.stored_result import load_result


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("training.optimizer.learning_rate=.inf", "is inf, expected a finite number"),
        ("training.optimizer.learning_rate=.nan", "is nan, expected a finite number"),
        ("training.optimizer.learning_rate=1.0e+300", "is 1e+300, expected less than or equal to 1e+38"),
        ("training.optimizer.weight_decay=1.0e+300", "is 1e+300, expected less than or equal to 1e+38"),
        ("landscape.plane.x.high=1.0e+300", "is 1e+300, expected less than or equal to 1e+30"),
        ("landscape.plane.x.low=-1.0e+300", "is -1e+300, expected greater than or equal to -1e+30"),
        ("landscape.plane.x.points=1", "is 1, expected greater than or equal to 2"),
        ("landscape.line.points=1", "is 1, expected greater than or equal to 2"),
        ("data.blobs.classes=1", "is 1, expected greater than or equal to 2"),
    ],
)
def test_what_no_computation_holds_is_refused_in_one_line(change, told):
    with pytest.raises(ExperimentError) as refused:
        override(EXPERIMENT, [change])
    assert str(refused.value) == f"{change.partition('=')[0]} {told}"


def test_points_that_are_too_near_for_a_second_difference_are_refused():
    with pytest.raises(ExperimentError, match=r"3 points from 0\.0 to 5e-324 are less than 1e-30 apart"):
        override(EXPERIMENT, ["landscape.plane.x.low=0", "landscape.plane.x.high=5.0e-324"])


def test_weights_beyond_float32_are_masked_and_the_others_are_as_ever(tmp_path):
    changes = ([], ["landscape.plane.x.low=-1.0e+30", "landscape.plane.x.high=1.0e+30"])
    near, far = (_plane(tmp_path / str(len(change)), override(EXPERIMENT, change)) for change in changes)
    assert far.finite.sum() == 3  # of 9: those that the first direction does not move
    assert np.array_equal(far.loss[far.finite], near.loss[far.finite])


@pytest.mark.parametrize("change", ["data.blobs.train_per_class=1", "model.hidden=[1]"])
def test_one_image_of_a_class_and_one_weight_of_a_neuron_are_enough(tmp_path, change):
    plane = _plane(tmp_path, override(EXPERIMENT, [change, "training.batch_size=2"]))
    assert plane.finite.all()
    assert np.all(plane.loss > 0)


def _plane(folder, experiment):
    run = Run(open_store(str(folder)), "run")
    survey(Settings(store=run.store.uri, tracking="none"), run, experiment)
    return load_result(run).planes[0]
