import copy
import itertools

import pytest
import torch
from reference.symmetries import images, networks, permuted, randomized
from torch import nn

from lossmap.components.core.errors import ExperimentError
from lossmap.components.landscape.connectivity.alignment import align
from lossmap.components.landscape.connectivity.symmetries import channel_spaces

FREE = {"mlp": 2, "convolutions": 3, "resnet A": 3, "resnet B": 6, "resnet without shortcuts": 7}


def _with(network, state):
    changed = copy.deepcopy(network)
    changed.load_state_dict(state)
    return changed


@pytest.mark.parametrize("name", FREE)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_permuted_copy_is_aligned_back_exactly(name, seed):
    network = networks()[name]
    free = [space for space in channel_spaces(network).spaces if space.free]
    shuffled = _with(network, permuted(network.state_dict(), free, seed))
    assert not all(
        torch.equal(value, shuffled.state_dict()[tensor]) for tensor, value in network.state_dict().items()
    )
    alignment = align(network, shuffled, seed)
    assert alignment.state.keys() == network.state_dict().keys()
    assert all(torch.equal(value, alignment.state[tensor]) for tensor, value in network.state_dict().items())
    assert (alignment.spaces, alignment.permuted) == (FREE[name], FREE[name])


@pytest.mark.parametrize("name", FREE)
def test_an_aligned_network_computes_what_it_did_and_is_nearer(name):
    network, other = networks()[name], randomized(networks()[name], seed=11)
    alignment = align(network, other)
    aligned = _with(other, alignment.state)
    # the same products are added in another order: a few roundings of 1e-16 for each of some thousand
    torch.testing.assert_close(aligned(images()), other(images()), rtol=1e-10, atol=1e-12)
    assert alignment.permuted > 0
    assert _distance(network, aligned) < _distance(network, other)


def _distance(one, two):
    return sum(
        float(((a - b).detach() ** 2).sum()) for a, b in zip(one.parameters(), two.parameters(), strict=True)
    )


def test_one_hidden_layer_is_matched_as_well_as_by_trying_every_permutation():
    network, other = (
        randomized(nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)), seed) for seed in (1, 2)
    )
    aligned = _with(other, align(network, other).state)
    tried = []
    for order in map(list, itertools.permutations(range(5))):
        state = other.state_dict()
        tried.append(
            _distance(
                network,
                _with(
                    other,
                    {
                        "0.weight": state["0.weight"][order],
                        "0.bias": state["0.bias"][order],
                        "2.weight": state["2.weight"][:, order],
                        "2.bias": state["2.bias"],
                    },
                ),
            )
        )
    assert _distance(network, aligned) == pytest.approx(min(tried), rel=1e-12)


class _Recurrent(nn.Module):
    """A convolution whose rows and columns are channels of the same stream."""

    def __init__(self):
        super().__init__()
        self.first, self.inner, self.last = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 3)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = x + torch.relu(self.inner(x))
        return self.last(x.mean(dim=(2, 3)))


def test_a_weight_with_the_same_channels_on_both_sides_is_aligned_back():
    network = randomized(_Recurrent())
    free = [space for space in channel_spaces(network).spaces if space.free]
    alignment = align(network, _with(network, permuted(network.state_dict(), free, 3)))
    assert alignment.spaces == 1
    assert all(torch.equal(value, alignment.state[tensor]) for tensor, value in network.state_dict().items())


def test_a_network_without_hidden_channels_has_nothing_to_align():
    network, other = nn.Linear(4, 3), nn.Linear(4, 3)
    alignment = align(network, other)
    assert (alignment.spaces, alignment.permuted) == (0, 0)
    assert all(torch.equal(value, alignment.state[tensor]) for tensor, value in other.state_dict().items())


def test_a_network_aligned_to_itself_stays_and_equal_seeds_give_equal_results():
    network, other = (randomized(networks()["mlp"], seed) for seed in (0, 1))
    assert align(network, network).permuted == 0
    first, again = align(network, other, seed=4), align(network, other, seed=4)
    assert all(torch.equal(first.state[name], again.state[name]) for name in first.state)


def test_networks_of_different_architecture_are_refused():
    with pytest.raises(ExperimentError) as error:
        align(nn.Linear(4, 3), nn.Linear(5, 3))
    assert (
        str(error.value)
        == "tensor weight is (3, 4) in one network and (3, 5) in the other, expected two networks of the same"
        " architecture"
    )
    with pytest.raises(
        ExperimentError, match="tensor bias is missing in one network and \\(3,\\) in the other"
    ):
        align(nn.Linear(4, 3, bias=False), nn.Linear(4, 3))


def test_the_aligned_network_shares_no_memory_with_the_other():
    network, other = networks()["mlp"], networks()["mlp"]
    align(network, other).state["5.bias"].fill_(7.0)
    assert not (other.state_dict()["5.bias"] == 7.0).any()
