"""Surveys of networks that people bring: planned and evaluated as a run does it, by this process."""

import json

import numpy as np
import pytest
import torch
from reference import foreign
from safetensors.torch import load
from threadpoolctl import threadpool_info
from torch import nn

from lossmap.components import steps
from lossmap.components.config.connection import Connecting, Curve
from lossmap.components.config.data import Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Axis, Landscape, Plane
from lossmap.components.config.models import Imported
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import ExperimentError, LossmapError
from lossmap.components.importing.digests import with_digests
from lossmap.components.importing.network import import_network
from lossmap.components.landscape.objective import cross_entropy, like_parameters
from lossmap.components.landscape.precision import widen
from lossmap.components.stores import layout
from lossmap.components.stores.runs import Run
from lossmap.components.surveys import plan as survey
from lossmap.components.surveys.connection import Connection
from lossmap.components.surveys.ends import find_ends
from lossmap.components.surveys.merge import merge
from lossmap.components.surveys.pending import pending_tiles
from lossmap.components.surveys.problems import TileEvaluator, load_directions
from lossmap.components.surveys.tiles import evaluated_points
from lossmap.pipelines.local import open_run

SMALL = Landscape(plane=Plane(x=Axis(points=3), y=Axis(points=3)), line=None, samples=10, workers=1)


@pytest.fixture
def settings(tmp_path):
    return Settings(store=str(tmp_path / "store"))


@pytest.fixture
def imported(settings, tmp_path):
    """Imports a network of reference.foreign with its ten samples as a run, and returns this."""

    def take(name, run="run", weights=None, **fields):
        data = {"inputs": foreign.inputs(name).numpy(), "targets": foreign.targets().numpy()}
        np.savez(tmp_path / "data.npz", **data)
        experiment = with_digests(
            Experiment(
                data=Data(source=str(tmp_path / "data.npz")),
                model=Imported(factory="reference.foreign:made", arguments={"name": name}, weights=weights),
                landscape=SMALL.model_copy(update=fields),
            )
        )
        steps.prepare(open_run(run, settings), experiment)
        import_network(open_run(run, settings))
        return open_run(run, settings)

    return take


def test_a_centre_that_is_not_the_networks_loss_is_refused(imported):
    """As where another machine evaluated it, with other packages."""
    run = imported("U-Net")
    result = run.training_result
    assert result["narrow_types"] == []
    survey.plan(run)
    steps.merge(run)
    result["train"]["loss"] *= 1.1
    run.store.write(layout.training_result(run.training), json.dumps(result).encode())
    with pytest.raises(ExperimentError, match=r"the loss at the centre of run is .*, and the network's"):
        merge(Run(run.store, "run"))


@pytest.fixture
def surveyed(imported):
    """The run of such a network with its plane evaluated, and the results by point."""

    def take(name, run="run", **fields):
        taken = imported(name, run, **fields)
        survey.plan(taken)
        evaluator = TileEvaluator(taken)
        for tile in pending_tiles(taken):
            evaluator.evaluate(tile)
        return taken, evaluated_points(taken, taken.survey.parts[0])

    return take


@pytest.mark.parametrize(
    "name",
    [
        *("U-Net", "kernel used twice", "tied embedding", "LSTM", "low rank", "old weight norm", "parallel"),
        *("TorchScript", "float64", "bfloat16", "slopes that need gradients", "kept from the first call"),
        *("inputs changed in place", "gradients at the inputs", "lazy"),
    ],
)
def test_every_point_of_a_survey_is_the_network_at_the_moved_weights(name, surveyed):
    run, found = surveyed(name)
    x, y = load_directions(run.store, run.survey.surfaces[0])
    state = load(run.store.read(layout.weights(run.training)))
    assert len(found) == 9
    for point, result in found.items():
        network = widen(foreign.KINDS[name]())
        network = network.module if name == "parallel" else network
        network.load_state_dict(state)
        for key, parameter in network.named_parameters():
            if key in x:
                parameter.data = (parameter.double() + point[0] * x[key] + point[1] * y[key]).to(parameter)
        outputs = network(like_parameters(foreign.inputs(name), network)).detach()
        # float32 summed in another order
        expected = float(cross_entropy(outputs, foreign.targets()).mean())
        assert result.loss == pytest.approx(expected, rel=2e-5), point


def test_directions_have_the_type_of_what_they_move(surveyed):
    run, found = surveyed("float64")
    x, _ = load_directions(run.store, run.survey.surfaces[0])
    assert {value.dtype for value in x.values()} == {torch.float64}
    assert found[0.0, 0.0].loss == pytest.approx(run.training_result["train"]["loss"], rel=1e-14)


def test_a_bfloat16_network_moves_in_float32_and_that_is_said(surveyed):
    run, found = surveyed("bfloat16")
    assert run.survey.notes == ("Weights in bfloat16 move in float32.",)
    assert found[0.0, 0.0].loss == pytest.approx(run.training_result["train"]["loss"], rel=2e-2)


def test_frozen_layers_stay_and_are_not_counted(surveyed):
    run, found = surveyed("low rank")
    assert run.survey.notes == ("53 of 75 weights are frozen and do not move.",)
    assert run.training_result["parameters"] == 22
    x, _ = load_directions(run.store, run.survey.surfaces[0])
    assert set(x) == {"a.weight", "b.weight"}
    assert len({result.loss for result in found.values()}) == 9


@pytest.mark.parametrize("directions", ["hessian", "gradient"])
def test_directions_of_the_loss_move_what_training_moves(directions, surveyed):
    run, found = surveyed(
        "low rank", directions=directions, normalization="model", ignore_bias_and_norm=False
    )
    x, _ = load_directions(run.store, run.survey.surfaces[0])
    assert set(x) == {"a.weight", "b.weight"}
    assert len({result.loss for result in found.values()}) == 9


def test_vectors_that_alone_are_trained_move(surveyed):
    run, found = surveyed("bias alone")
    assert run.survey.notes == (
        "18 of 21 weights are frozen and do not move.",
        "The others have one dimension and move, although landscape.ignore_bias_and_norm is true.",
    )
    assert len({result.loss for result in found.values()}) == 9


REFUSALS = {
    "complex": "the network Spectral has complex parameters (weight), expected real ones; keep real and"
    " imaginary part as a real parameter, and use it by torch.view_as_complex",
    "no parameters": "the network Flatten has no parameters that can be moved, expected at least one of"
    " floating point; a quantized, a frozen TorchScript or an exported network keeps its weights elsewhere:"
    " survey the network that it was made from",
    **{
        name: f"the layer {layer} (Linear) of torch.ao.nn.quantized.dynamic.modules.linear is quantized: its"
        " weights cannot be moved; survey the network as it was before"
        for name, layer in {"quantized": 1, "quantized in part": 3}.items()
    },
    "norm without statistics": "the layer 1 (BatchNorm1d) has no running statistics"
    " (track_running_stats=False): it takes those of each batch, so that the loss would depend on"
    " landscape.batch_size; give it running statistics: track_running_stats=True, and some batches in"
    " training mode",
    "vectors": "the direction x of run is zero: every parameter has one dimension, as biases and norms have,"
    " which stay where they are; set landscape.ignore_bias_and_norm=false",
    "zeros": "the direction x of run is zero: every weight that moves is zero, and normalization filter gives"
    " the direction the weights' length; set landscape.normalization=none, or"
    " landscape.ignore_bias_and_norm=false where biases are not zero",
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_surveyed_is_refused_in_one_line(name, surveyed):
    with pytest.raises(LossmapError) as refused:
        surveyed(name)
    assert str(refused.value) == REFUSALS[name]


def test_a_cast_to_few_bits_is_refused_with_types_and_parameters(surveyed):
    with pytest.raises(LossmapError) as refused:
        surveyed("casts")
    start, _, end = str(refused.value).partition("with which the network Casting fails on inputs of ")
    assert start == (
        "the network Casting has weights in bfloat16 (body.bias, body.weight); those in bfloat16 are moved in"
        " float32, "
    )
    assert end.endswith(
        "; expected a network without casts to bfloat16 in its forward pass, for example network.float()"
    )


def test_a_network_that_keeps_what_it_computed_from_its_weights_is_refused(surveyed):
    with pytest.raises(
        LossmapError, match=r"^Stale, moved, and a new one there differ by up to .*: it keeps values that it"
    ):
        surveyed("stale")


def test_statistics_that_are_not_reestimated_are_refused(surveyed):
    with pytest.raises(LossmapError) as refused:
        surveyed("instance norm with statistics", batch_norm="reestimated")
    assert str(refused.value) == (
        "landscape.batch_norm is reestimated, and the layer 1 (InstanceNorm2d) has running statistics, which"
        " is done for BatchNorm only; set landscape.batch_norm=frozen"
    )


def test_a_network_that_differs_in_a_frozen_parameter_does_not_lie_on_the_plane(surveyed):
    surveyed("low rank", run="first")
    with pytest.raises(LossmapError) as refused:
        surveyed(
            "low rank, other base",
            run="second",
            directions="networks",
            networks=("first",),
            normalization="none",
            ignore_bias_and_norm=False,
        )
    assert str(refused.value) == (
        "run first differs from second in parameters that do not move (base.weight), so that its"
        " network does not lie on the plane; let them require a gradient"
    )


def test_a_float64_network_lies_at_coordinate_one_to_the_last_bits(surveyed):
    first, _ = surveyed("float64", run="first")
    plane = Plane(x=Axis(low=0, high=1, points=3), y=Axis(low=0, high=1, points=3))
    _, found = surveyed(
        "float64, other weights",
        run="second",
        directions="networks",
        networks=("first",),
        plane=plane,
        normalization="none",
        ignore_bias_and_norm=False,
    )
    assert found[1.0, 0.0].loss == pytest.approx(first.training_result["train"]["loss"], rel=1e-14)


def test_every_tile_is_evaluated_in_one_thread_also_the_second(imported):
    run = imported("LSTM")
    survey.plan(run)
    tile, threads = pending_tiles(run)[0], []
    evaluator = TileEvaluator(run, lambda: threads.append({torch.get_num_threads(), *_blas_threads()}))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        evaluator.evaluate(tile)
        assert torch.get_num_threads() == 1  # no thread comes back between two tiles
        run.store.delete(tile.key)
        torch.set_num_threads(2)
        evaluator.evaluate(tile)
    finally:
        torch.set_num_threads(before)
    assert len(threads) == 2 * len(tile.points)
    assert set().union(*threads) == {1}


def _blas_threads():
    return {found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"}


def test_batches_of_one_sample_are_refused_where_statistics_are_reestimated(surveyed):
    surveyed("batch norm", run="even", batch_norm="reestimated", batch_size=3)  # the last of 10 is no batch
    with pytest.raises(LossmapError) as refused:
        surveyed("batch norm", batch_norm="reestimated", batch_size=1)
    assert str(refused.value) == (
        "batch_norm is reestimated and the batches have 1 samples, expected at least two in each; change"
        " landscape.samples or landscape.batch_size"
    )


def test_directions_of_the_loss_that_fail_are_told_in_one_line(surveyed):
    with pytest.raises(LossmapError) as refused:
        surveyed("TorchScript", directions="hessian", normalization="model", ignore_bias_and_norm=False)
    assert "is compiled by TorchScript, whose derivatives cannot be taken" in str(refused.value)
    with pytest.raises(LossmapError) as refused:
        surveyed("without derivatives", run="other", directions="hessian", normalization="model")
    assert str(refused.value).startswith("the network Shy fails on inputs of the shape (10, 6), float32: Run")


def test_a_network_that_fails_in_the_proof_or_in_a_connection_is_told_in_one_line(imported, tmp_path):
    with pytest.raises(LossmapError) as refused:
        steps.prove_invariance(imported("float32 inside"))
    assert str(refused.value) == (
        "reference.foreign:made fails in the proof of invariance: RuntimeError: mat1 and mat2 must have the"
        " same dtype, but got Float and Double"
    )
    torch.save(nn.Sequential(nn.Linear(6, 3)).state_dict(), tmp_path / "other.pt")
    ends = (
        imported("gradients stopped", "first"),
        imported("gradients stopped", "second", weights=str(tmp_path / "other.pt")),
    )
    connection = Connection(find_ends(ends), Connecting(curve=Curve(epochs=1)))
    with pytest.raises(LossmapError) as refused:
        connection.train_curve()
    assert str(refused.value) == (
        "reference.foreign:made fails in the training of the curve of the connection: RuntimeError: element 0"
        " of tensors does not require grad and does not have a grad_fn"
    )
