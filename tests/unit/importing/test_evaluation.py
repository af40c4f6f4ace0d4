import pytest
import torch
import torch.nn.functional as F
from reference.manifests import manifest
from torch import nn

from lossmap.components.core.errors import ExperimentError
from lossmap.components.importing.averages import Weight
from lossmap.components.importing.batch_losses import BatchCall, BatchLoss
from lossmap.components.importing.evaluation import Evaluation
from lossmap.components.importing.rows import rows_of
from lossmap.components.landscape.calls import call_by
from lossmap.components.landscape.objective import named_loss, users_loss

TENSORS = manifest().model_copy(update={"kind": "tensors"})


def _evaluated(loss, outputs, targets):
    return Evaluation(nn.Identity(), loss, TENSORS).of(outputs, targets)


def test_a_loss_with_weights_of_its_own_is_seen_in_a_split_that_is_sorted_by_class():
    targets = torch.arange(1000) // 250
    own = users_loss(
        lambda outputs, targets: F.cross_entropy(outputs, targets, torch.arange(1.0, 5.0)), "own"
    )
    with pytest.raises(ExperimentError, match=r"^the loss own gives .* for 64 samples at once, and the mean"):
        _evaluated(own, torch.randn(1000, 4, generator=torch.Generator().manual_seed(0)), targets)


def _rare_ones_count_more(outputs, targets):
    weights = torch.where(targets > 5, 100.0, 1.0)
    return (weights * (outputs - targets) ** 2).sum() / weights.sum()


def test_a_loss_that_weighs_one_sample_in_a_thousand_is_seen():
    targets = torch.zeros(1000, 1)
    targets[780] = 9
    with pytest.raises(ExperimentError, match=r"^the loss own gives .* for 232 samples at once, and the"):
        _evaluated(users_loss(_rare_ones_count_more, "own"), torch.zeros(1000, 1), targets)


def test_a_mean_that_is_added_up_one_by_one_in_float32_is_taken():
    def added(outputs, targets):
        total = outputs.new_zeros((), dtype=torch.float32)
        for output, target in zip(outputs, targets, strict=True):
            total = total + (output - target).square().sum().float()
        return total / len(outputs)

    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.rand(4000, 1, generator=generator), torch.rand(4000, 1, generator=generator)
    expected = float((outputs.double() - targets).square().mean())
    found = _evaluated(users_loss(added, "own"), outputs, targets).loss
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_loss_of_network_and_batch_that_weighs_one_sample_in_a_thousand_is_seen():
    x, y = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0)), torch.zeros(1000, 1)
    y[777] = 9
    rows = rows_of([(x, y)])
    call = BatchCall(
        rows, lambda network, batch: _rare_ones_count_more(network(batch[0]), batch[1]), "own", None, Weight()
    )
    network = nn.Identity()
    call_by(network, call)
    with pytest.raises(ExperimentError, match=r"^the loss own gives .* for 15 samples at once, and the mean"):
        Evaluation(network, BatchLoss(name="own"), TENSORS).of(rows.packed([(x, y)]), torch.ones(1000))


def test_ignored_targets_are_seen_wherever_they_are():
    targets = torch.zeros(1000, dtype=torch.int64)
    targets[777] = -100
    own = users_loss(lambda outputs, targets: F.cross_entropy(outputs, targets, reduction="none"), "own")
    with pytest.raises(ExperimentError, match=r"^the loss own is 0 for all 1 targets that are -100"):
        _evaluated(own, torch.zeros(1000, 4), targets)


def test_few_samples_are_all_of_them():
    for count in (1, 2, 3):
        outputs, targets = torch.eye(3)[:count], torch.arange(count)
        found = _evaluated(named_loss("cross-entropy"), outputs, targets)
        each = F.cross_entropy(outputs.double(), targets, reduction="none")
        torch.testing.assert_close(found.losses, each, rtol=1e-12, atol=0)
        assert found.loss == pytest.approx(float(each.mean()), rel=1e-12)
        assert (found.error, found.count) == (0, count)
