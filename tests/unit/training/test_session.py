"""What a session keeps of a training."""

from types import SimpleNamespace

import pytest
import torch

from lossmap.components.config.training import Training
from lossmap.components.training.session import epochs_between_snapshots


@pytest.mark.parametrize(
    ("weights", "epochs", "every", "expected"),
    [(10**6, 10, None, 1), (36_500_000, 200, None, 17), (36_500_000, 200, 1, 1), (10**9, 5, None, 5)],
    ids=["small", "wide-resnet", "as-asked", "one-fills-it"],
)
def test_snapshots_stay_within_two_gibibytes_unless_it_is_asked_otherwise(weights, epochs, every, expected):
    network = torch.nn.Module()
    network.weight = torch.nn.Parameter(torch.empty(weights, device="meta"))
    training = Training(epochs=epochs, trajectory_every=every)
    found = epochs_between_snapshots(SimpleNamespace(training=training, network=network))
    assert found == expected
    kept = 1 + epochs // found + bool(epochs % found)
    assert every or kept <= 2 or kept * 4 * weights <= 2**31
