import pytest
import torch
from reference.foreign import KINDS, inputs, targets
from reference.networks import Flattening, Striding, Viewing
from torch import nn

from lossmap.components.core.errors import ExperimentError
from lossmap.components.landscape.evaluator import Evaluator
from lossmap.components.landscape.forward import losses_of, memory_format, without_gradients
from lossmap.components.landscape.objective import Problem, Samples, cross_entropy
from lossmap.components.landscape.parameters import Parameters, sample_losses

SLOPES = ["slopes in the forward pass", "slopes that need gradients", "slopes by torch.func"]


@pytest.mark.parametrize("name", SLOPES)
def test_a_network_of_derivatives_is_evaluated_without_those_of_its_weights(name):
    network, samples = KINDS[name](), Samples(inputs(name), targets(), 4)
    expected = cross_entropy(network(samples.inputs.clone()), samples.targets).detach()
    losses, _ = losses_of(network, cross_entropy, samples)
    torch.testing.assert_close(losses.values, expected.double(), rtol=1e-6, atol=1e-6)
    assert not losses.values.requires_grad
    assert all(parameter.requires_grad for parameter in network.parameters())
    parameters = Parameters(Problem(network, cross_entropy, samples))
    torch.testing.assert_close(torch.from_numpy(sample_losses(parameters)), expected, rtol=1e-6, atol=1e-6)


def test_gradients_are_recorded_only_where_they_are_needed():
    network, seen = nn.Linear(2, 3), []
    without_gradients(network, lambda: seen.append(torch.is_grad_enabled()))
    assert seen == [False]

    def needing():
        seen.append((torch.is_grad_enabled(), network.weight.requires_grad))
        return torch.autograd.grad(network(torch.ones(1, 2, requires_grad=True)).sum(), network.bias)

    with pytest.raises(RuntimeError, match="grad"):  # derivatives of weights are not to be had
        without_gradients(network, needing)
    assert seen[1:] == [(False, True), (True, False)]
    assert network.weight.requires_grad


def test_other_errors_are_not_tried_again():
    calls = []

    def failing():
        calls.append(1)
        raise ExperimentError("shapes do not fit")

    with pytest.raises(ExperimentError, match=r"^shapes do not fit$"):
        without_gradients(nn.Linear(1, 1), failing)
    assert calls == [1]


def test_what_a_network_keeps_from_an_evaluation_can_take_part_in_derivatives_later():
    network, samples = KINDS["kept from the first call"](), Samples(inputs(""), targets(), 4)
    losses_of(network, cross_entropy, samples)
    network(samples.inputs).sum().backward()
    assert network.body.weight.grad.any()


@pytest.mark.parametrize("name", ["inputs changed in place", "gradients at the inputs"])
def test_samples_stay_what_they_are_and_points_do_not_add_up(name):
    network, samples = KINDS[name](), Samples(inputs(name), targets(), 4)
    still = {each: torch.zeros_like(parameter) for each, parameter in network.named_parameters()}
    evaluate = Evaluator(Problem(network, cross_entropy, samples), (still, still), "frozen")
    first, second = evaluate(0.0, 0.0), evaluate(0.0, 0.0)
    assert first == second
    assert torch.equal(samples.inputs, inputs(name))


class _Contiguous(Flattening):
    def forward(self, images):
        assert images.is_contiguous()
        return super().forward(images)


class _Slopes(Flattening):
    def forward(self, images):
        images = images.requires_grad_()
        return torch.autograd.grad(super().forward(images).sum(), images)[0].flatten(1)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (Flattening, torch.channels_last),
        (Viewing, torch.contiguous_format),
        (Striding, torch.contiguous_format),
        (_Contiguous, torch.contiguous_format),
        (_Slopes, torch.channels_last),
    ],
    ids=["flattens", "views", "strides", "asserts", "derivatives"],
)
def test_images_lie_channels_last_where_the_network_takes_them_so(network, expected):
    torch.manual_seed(0)
    assert memory_format(network().eval(), torch.randn(2, 3, 8, 8)) == expected


def test_rows_have_no_memory_format():
    assert memory_format(nn.Linear(3, 2), torch.randn(2, 3)) == torch.contiguous_format
