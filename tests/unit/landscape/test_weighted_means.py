"""A loss is one number, whoever computes it, and its interval is that of a ratio."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from reference.landscape import surface
from reference.losses import criteria, torchs_own, weighted_problem, with_ignored
from reference.manifests import manifest
from torch import nn

from lossmap.components.core.errors import ExperimentError
from lossmap.components.importing.evaluation import Evaluation
from lossmap.components.landscape.connectivity.barriers import barrier
from lossmap.components.landscape.connectivity.paths import Path, evaluate
from lossmap.components.landscape.evaluator import Evaluator
from lossmap.components.landscape.measures.intervals import difference, measure_with_interval
from lossmap.components.landscape.objective import (
    Problem,
    SampleMean,
    Samples,
    losses_and_errors,
    named_loss,
    users_loss,
)
from lossmap.components.landscape.parameters import Parameters, value_and_gradient

CRITERIA = criteria()


class Shift(nn.Module):
    """Adds 0 to what it gets."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, inputs):
        return inputs + self.shift


def _still(network):
    return tuple(
        {name: torch.zeros_like(parameter) for name, parameter in network.named_parameters()} for _ in "xy"
    )


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss")
@pytest.mark.parametrize("name", CRITERIA)
def test_import_survey_and_paths_have_torchs_own_number(name):
    criterion, outputs, targets = CRITERIA[name]
    expected = torchs_own(criterion, outputs, targets)
    loss = named_loss(criterion) if isinstance(criterion, str) else users_loss(criterion, "own")
    tensors = manifest().model_copy(update={"kind": "tensors"})
    imported = Evaluation(Shift(), loss, tensors).of(outputs, targets)
    assert imported.loss == pytest.approx(expected, rel=1e-12)
    for size in (1, 5, 64):
        samples, network = Samples(outputs, targets, size), Shift()
        found = Evaluator(Problem(network, loss, samples), _still(network), "frozen")(0.0, 0.0)
        path = Path((network.state_dict(), network.state_dict()))
        along = evaluate((network, loss), {"train": samples}, path, (0.0, 1.0), lambda *_: None)["train"]
        assert (found.loss, along.loss[0]) == pytest.approx((expected, expected), rel=1e-12)
        assert found.error == pytest.approx(
            math.nan if imported.error is None else imported.error, rel=1e-12, nan_ok=True
        )
        assert along.error_standard_error[0] >= 0 or imported.error is None
        value, _ = value_and_gradient(Parameters(Problem(Shift(), loss, samples)))
        assert value == pytest.approx(expected, rel=1e-12)


def test_the_standard_error_of_a_ratio_is_that_over_draws_of_the_samples():
    """Samples of two classes with the weights 0.2 and 3 and losses around 1 and 2."""
    generator = np.random.default_rng(0)
    ratios, found, plain = [], [], []
    for _ in range(1000):
        rare = generator.random(200) < 0.1
        weights = np.where(rare, 3.0, 0.2)
        values = weights * (np.where(rare, 2.0, 1.0) + generator.normal(0, 0.3, 200))
        mean = SampleMean.of(torch.from_numpy(values), torch.from_numpy(weights))
        ratios.append(values.sum() / weights.sum())
        assert mean.mean == pytest.approx(ratios[-1], rel=1e-12)
        found.append(mean.standard_error)
        plain.append(float(mean.values.std()) / math.sqrt(200))
    # a deviation from 1000 draws is known to 1 / sqrt(2000) = 2.2 %, its estimate has a bias of about 1 / 200
    assert np.mean(found) == pytest.approx(np.std(ratios, ddof=1), rel=0.08)
    assert np.mean(plain) > 3 * np.std(ratios, ddof=1)  # what the mean of scaled losses would claim


def test_a_single_sample_has_no_standard_error_and_samples_alike_have_that_of_a_mean():
    values = torch.tensor([1.0, 4.0, 2.0], dtype=torch.float64)
    mean = SampleMean.of(values, torch.ones(3, dtype=torch.float64))
    assert mean.standard_error == pytest.approx(float(values.std()) / math.sqrt(3), rel=1e-12)
    assert mean.group_weights(torch.tensor([0, 0, 1])) == ()
    assert math.isnan(SampleMean.of(values[:1], values[:1]).standard_error)


def test_a_point_has_the_groups_sums_of_losses_and_of_weights():
    problem, criterion = weighted_problem("weights", samples=230)
    found = Evaluator(problem, _still(problem.network), "frozen")(0.0, 0.0)
    groups, targets = problem.samples.groups(), problem.samples.targets
    outputs = problem.network(problem.samples.inputs)
    for group in (0, 57):
        own = groups == group
        expected = float(criterion(outputs[own], targets[own]))
        assert found.group_losses[group] / found.group_weights[group] == pytest.approx(expected, rel=1e-12)
    sizes = groups.bincount().double()
    weights = torch.tensor(found.group_weights, dtype=torch.float64)
    assert float((weights * sizes).sum() / 230) == pytest.approx(1, rel=1e-12)


def _weighted(weights, ratios):
    """A surface of G groups with those weights (G,) and losses (G, Y, X)."""
    losses = np.moveaxis(weights[:, None, None] * ratios, 0, -1)
    loss = losses.mean(axis=-1) / weights.mean()
    axis = np.arange(float(loss.shape[0]))
    return replace(surface(axis, axis, loss), group_losses=losses, group_weights=weights)


def test_resamples_have_the_ratio_of_what_they_drew():
    weights = np.array([0.1, 2.0, 0.5, 1.4])
    same = _weighted(weights, np.ones((4, 3, 3)))
    found = measure_with_interval(lambda plane: float(plane.loss[1, 1]), [same], seed=0)
    assert (found.value, found.subset_error) == (1, pytest.approx(0, abs=1e-12))
    generator = np.random.default_rng(0)
    weights, ratios = (
        generator.uniform(0.8, 1.2, 50),
        generator.normal(2, 0.3, (50, 1, 1)) * np.ones((1, 3, 3)),
    )
    weights = weights / weights.mean()
    plane = _weighted(weights, ratios)
    found = measure_with_interval(lambda plane: float(plane.loss[1, 1]), [plane], seed=0, resamples=4000)
    deviations = weights * (ratios[:, 0, 0] - plane.loss[1, 1])
    # as in test_intervals: three standard errors of 4000 resamples
    assert found.subset_error == pytest.approx(deviations.std(ddof=1) / math.sqrt(50), rel=0.034)


def test_the_error_of_a_difference_is_that_of_a_ratio():
    weights = np.array([0.1, 2.0, 0.5, 1.4])
    rising = np.ones((4, 3, 3)) * np.arange(3.0)
    assert difference(_weighted(weights, rising), (0.0, 0.0), (2.0, 0.0)) == (
        2.0,
        pytest.approx(0, abs=1e-15),
    )


def test_a_barriers_interval_is_over_ratios():
    problem, _ = weighted_problem("places", samples=120)
    states = [{name: value + step for name, value in problem.network.state_dict().items()} for step in (0, 2)]
    points = tuple(np.linspace(0, 1, 5))
    profile = evaluate(
        (problem.network, problem.loss),
        {"train": problem.samples},
        Path(tuple(states)),
        points,
        lambda *_: None,
    )["train"]
    sizes = problem.samples.groups().bincount().numpy()
    for values, weights, whole in (
        (profile.group_losses, profile.loss_weights, profile.loss),
        (profile.group_errors, profile.error_weights, profile.error),
    ):
        np.testing.assert_allclose(values @ sizes / (weights @ sizes), whole, rtol=1e-12)
    same = replace(profile, group_losses=np.outer(profile.loss, profile.loss_weights))
    found = barrier(same)
    assert (found.low, found.high) == pytest.approx((found.value, found.value), rel=1e-9)


def test_samples_none_of_which_counts_are_refused():
    targets = torch.full((4,), -100)
    with pytest.raises(
        ExperimentError, match=r"^the weights of all 4 samples add up to 0 in the loss cross-"
    ):
        Problem(Shift(), named_loss("cross-entropy"), Samples(torch.eye(4).double(), targets, 2))


def test_ignored_answers_are_in_no_error():
    outputs, targets = torch.eye(5).double(), torch.tensor([0, 1, 0, -100, -100])
    _, errors = losses_and_errors(Shift(), named_loss("cross-entropy"), Samples(outputs, targets, 2))
    assert errors.mean == pytest.approx(1 / 3, rel=1e-12)
    places = with_ignored(torch.zeros(6, 5, dtype=torch.int64))
    _, errors = losses_and_errors(
        Shift(),
        named_loss("cross-entropy"),
        Samples(torch.eye(6)[:, :, None].repeat(1, 1, 5).double(), places, 4),
    )
    assert errors.mean == pytest.approx(4 / 5, rel=1e-12)  # all but the first sample's


class Squeezed(nn.Module):
    """One number for each sample, squeezed, as many do."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, inputs):
        return self.layer(inputs).squeeze()


@pytest.mark.parametrize("size", [1, 2, 64])
@pytest.mark.parametrize("count", [1, 65])
def test_a_batch_of_one_sample_that_is_squeezed_is_one_sample(count, size):
    torch.manual_seed(0)
    network, inputs, targets = (
        Squeezed().double(),
        torch.randn(count, 4).double(),
        torch.randn(count).double(),
    )
    expected = float(((network.layer(inputs)[:, 0] - targets) ** 2).mean().detach())
    problem = Problem(network, named_loss("mse"), Samples(inputs, targets, size))
    tensors = manifest().model_copy(update={"kind": "tensors"})
    imported = Evaluation(network, named_loss("mse"), tensors).of(inputs, targets).loss
    value, _ = value_and_gradient(Parameters(problem))
    centre = Evaluator(problem, _still(network), "frozen")(0.0, 0.0).loss
    assert (imported, value, centre) == pytest.approx((expected,) * 3, rel=1e-12)


def test_a_last_sample_goes_with_the_batch_before_it():
    sizes = [len(targets) for _, targets in Samples(torch.zeros(9, 2), torch.zeros(9), 4).batches()]
    assert sizes == [4, 5]
    assert len(Samples(torch.zeros(3, 2), torch.zeros(3), 1).batches()) == 3
    assert len(Samples(torch.zeros(1, 2), torch.zeros(1), 4).batches()) == 1


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (
            lambda x: (x, x),
            "the network Answering returns a tuple of 2, expected one tensor; let the factory wrap ",
        ),
        (lambda x: {"logits": x}, "the network Answering returns dict with logits, expected one tensor; "),
        (
            lambda x: x.mean(),
            "the network Answering returns the shape () for inputs of the shape (6, 4), expected ",
        ),
        (
            lambda x: x.T,
            "the network Answering returns the shape (4, 6) for inputs of the shape (6, 4), expected ",
        ),
        (
            lambda x: x @ x,
            "the network Answering fails on inputs of the shape (6, 4), float64: RuntimeError: ",
        ),
    ],
)
def test_what_a_network_answers_otherwise_is_one_line(answer, line):
    class Answering(Shift):
        def forward(self, inputs):
            return answer(inputs)

    with pytest.raises(ExperimentError) as refused:
        losses_and_errors(
            Answering(), named_loss("mse"), Samples(torch.zeros(6, 4).double(), torch.zeros(6, 4), 64)
        )
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)
