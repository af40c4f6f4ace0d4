import copy

import pytest
import torch
from torch import nn

from lossmap.components.landscape.connectivity.paths import Path
from lossmap.components.landscape.connectivity.repair import (
    between,
    hidden_layers,
    moments,
    repair,
    with_biases,
)


def convolutional(seed):
    """Two convolutions without bias, one with groups, and two linear layers."""
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Conv2d(2, 4, 3, bias=False), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=2, bias=False), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 5), nn.ReLU(), nn.Linear(5, 3)),
    )


@pytest.fixture(autouse=True)
def quiet():
    with torch.random.fork_rng():
        yield


def _case():
    networks = [convolutional(seed).double() for seed in (1, 2)]
    inputs = torch.randn(20, 2, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return networks, [(part, torch.zeros(len(part))) for part in inputs.split(6)], inputs


def test_hidden_layers_come_in_the_order_of_the_forward_pass_without_the_last():
    networks, _, inputs = _case()
    assert hidden_layers(networks[0], inputs[:1]) == ["0", "2", "6"]
    assert hidden_layers(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), torch.zeros(1, 3)) == []


def test_moments_are_those_of_the_whole_output_at_once():
    networks, batches, inputs = _case()
    output = networks[0][:3](inputs)  # after the second convolution
    found = moments(networks[0], ["2", "6"], batches)
    # float64; the difference of squares loses a few digits
    torch.testing.assert_close(found["2"].mean, output.mean(dim=(0, 2, 3)), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(
        found["2"].deviation, output.std(dim=(0, 2, 3), correction=0), rtol=1e-9, atol=1e-12
    )
    torch.testing.assert_close(
        found["6"].deviation, networks[0][:7](inputs).std(dim=0, correction=0), rtol=1e-9, atol=1e-12
    )


def test_a_repaired_network_has_the_moments_between_its_ends_in_every_hidden_layer():
    networks, batches, inputs = _case()
    names = hidden_layers(networks[0], inputs)
    a, b = (moments(network, names, batches) for network in networks)
    merged = copy.deepcopy(networks[0]).requires_grad_(False)
    states = with_biases(merged, networks[0].state_dict(), networks[1].state_dict())
    merged.load_state_dict(Path(tuple(states)).at(0.3))
    before = moments(merged, names, batches)
    targets = {name: between(a[name], b[name], 0.3) for name in names}
    repair(merged, targets, batches)
    after = moments(merged, names, batches)
    for name in names:
        torch.testing.assert_close(
            after[name].mean, 0.7 * a[name].mean + 0.3 * b[name].mean, rtol=1e-9, atol=1e-12
        )
        torch.testing.assert_close(
            after[name].deviation, 0.7 * a[name].deviation + 0.3 * b[name].deviation, rtol=1e-9, atol=1e-12
        )
        assert not torch.allclose(before[name].deviation, after[name].deviation, rtol=0.05)


@pytest.mark.parametrize("end", [0, 1])
def test_at_the_ends_no_bit_changes(end):
    networks, batches, inputs = _case()
    names = hidden_layers(networks[0], inputs)
    a, b = (moments(network, names, batches) for network in networks)
    network = copy.deepcopy(networks[0]).float().requires_grad_(False)
    network = networks[end].requires_grad_(False)
    (state,) = with_biases(network, network.state_dict())
    network.load_state_dict(state)
    repair(network, {name: between(a[name], b[name], float(end)) for name in names}, batches)
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


def test_a_constant_channel_is_shifted_and_not_divided_by_zero():
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).requires_grad_(False)
    network[0].weight.zero_()
    batches = [(torch.randn(5, 2), torch.zeros(5))]
    target = moments(nn.Sequential(nn.Linear(2, 2)), ["0"], batches)["0"]
    repair(network, {"0": target}, batches)
    torch.testing.assert_close(network[0].bias.double(), target.mean, rtol=1e-6, atol=1e-7)
    assert not network[0].weight.any()
