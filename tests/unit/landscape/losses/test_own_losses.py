from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lossmap.components.core.errors import ExperimentError
from lossmap.components.landscape.losses.checks import check_loss
from lossmap.components.landscape.objective import loss_registration, named_loss, users_loss

GENERATOR = torch.Generator().manual_seed(1)
OUTPUTS = torch.randn(11, 3, generator=GENERATOR)
NUMBERS = torch.randn(11, 3, generator=GENERATOR)
CLASSES = torch.randint(3, (11,), generator=GENERATOR)


def _one_number(outputs, targets):
    return F.cross_entropy(outputs, targets)


def _binary(outputs, targets):
    return F.binary_cross_entropy_with_logits(outputs, targets)


class Focal(nn.Module):
    """As found in many repositories."""

    def __init__(self, weight=None, divided=False, reduction="mean"):
        super().__init__()
        self.register_buffer("weight", weight)
        self.divided, self.reduction = divided, reduction

    def forward(self, outputs, targets):
        losses = F.cross_entropy(outputs, targets, self.weight, reduction="none")
        losses = (1 - (-losses).exp()) ** 2 * losses
        if self.reduction == "none":
            return losses
        return losses.sum() / self.weight[targets].sum() if self.divided else losses.mean()


class Learned(nn.Module):
    """A distance with weights of its own, and dropout."""

    def __init__(self, seed=None):
        super().__init__()
        if seed is not None:
            torch.manual_seed(seed)
        self.map, self.drop = nn.Linear(3, 2), nn.Dropout()

    def forward(self, outputs, targets):
        return (self.drop(self.map(outputs - targets)) ** 2).mean()


def _mean(loss, outputs, targets):
    own = users_loss(loss, "own")
    check_loss(own, outputs, targets)
    return float(own(outputs, targets).mean())


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        (_one_number, CLASSES),
        (lambda outputs, targets: F.cross_entropy(outputs, targets, reduction="none"), CLASSES),
        (lambda outputs, targets: (outputs - targets) ** 2, NUMBERS),
        (lambda outputs, targets: ((outputs - targets) ** 2).mean(dim=1, keepdim=True), NUMBERS),
        (
            partial(lambda outputs, targets, power: ((outputs - targets).abs() ** power).mean(), power=3),
            NUMBERS,
        ),
        (Focal(), CLASSES),
        (Focal(torch.tensor([0.2, 3.0, 1.0])), CLASSES),
        (Focal, CLASSES),
    ],
)
def test_a_mean_over_samples_is_the_functions_own(loss, targets):
    whole = loss() if isinstance(loss, type) else loss
    # float32 both
    assert _mean(loss, OUTPUTS, targets) == pytest.approx(float(whole(OUTPUTS, targets).mean()), rel=1e-6)


def test_losses_of_places_are_averaged_over_each_samples_places():
    outputs = torch.randn(5, 3, 4, generator=GENERATOR)
    targets = torch.randint(3, (5, 4), generator=GENERATOR)
    found = users_loss(lambda o, t: F.cross_entropy(o, t, reduction="none"), "own")
    expected = F.cross_entropy(outputs, targets, reduction="none").mean(dim=1)
    torch.testing.assert_close(found(outputs, targets), expected.double())


def test_a_module_with_weights_of_its_own_is_taken_as_it_is_in_evaluation_mode():
    module = Learned(seed=3)
    own = users_loss(module, "own")
    expected = (module.map(OUTPUTS - NUMBERS) ** 2).mean(dim=1)
    torch.testing.assert_close(own(OUTPUTS, NUMBERS), expected.detach().double())
    assert module.training and module.map.weight.requires_grad
    with torch.no_grad():
        module.map.weight.zero_()  # afterwards: the survey's own stays
    torch.testing.assert_close(own(OUTPUTS, NUMBERS), expected.detach().double())


def test_a_losss_derivative_is_that_of_the_mean():
    outputs = OUTPUTS.clone().requires_grad_()
    own = users_loss(_one_number, "own")
    (found,) = torch.autograd.grad(own(outputs, CLASSES).mean(), outputs)
    (expected,) = torch.autograd.grad(F.cross_entropy(outputs, CLASSES), outputs)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("loss", "line"),
    [
        (lambda outputs: outputs, "the loss own takes outputs, expected a function of outputs and targets; "),
        (
            lambda network, batch, device: 0,
            "the loss own takes network, batch, device, expected a function of outputs and targets; write one"
            " of these two that calls it",
        ),
        (Learned, "the loss own has other weights every time it is made, expected the same ones; "),
        ("text", "the loss own cannot be used: TypeError: "),
    ],
)
def test_what_is_no_function_of_outputs_and_targets_is_one_line(loss, line):
    with pytest.raises(ExperimentError) as refused:
        users_loss(loss, "own")
    assert str(refused.value).startswith(line)


def test_a_class_with_the_same_weights_every_time_is_taken():
    assert _mean(partial(Learned, seed=4), OUTPUTS, NUMBERS) > 0


def _fails(outputs, targets):
    raise RuntimeError("no such thing\nand more")


@pytest.mark.parametrize(
    ("loss", "outputs", "targets", "line"),
    [
        (
            _fails,
            OUTPUTS,
            NUMBERS,
            "the loss own fails on outputs of the shape (11, 3), float32 and targets of the shape (11, 3),"
            " float32: RuntimeError: no such thing",
        ),
        (
            _binary,
            OUTPUTS[:, :1],
            CLASSES[:, None],
            "the loss own fails on outputs of the shape (11, 1), float32 and targets of the shape (11, 1),"
            " int64: RuntimeError: ",
        ),
        (
            lambda outputs, targets: (outputs - targets) ** 2,
            OUTPUTS[:, :1],
            NUMBERS[:, 0],
            "the loss own returns the shape (11, 11) for outputs of the shape (11, 1), float32 and targets of"
            " the shape (11,), float32, expected one loss for each of 11 samples: (11,), or one for each"
            " target",
        ),
        (
            lambda outputs, targets: outputs[:5, 0],
            OUTPUTS,
            NUMBERS,
            "the loss own returns the shape (5,) for ",
        ),
        (
            lambda outputs, targets: {"loss": 1},
            OUTPUTS,
            NUMBERS,
            "the loss own returns dict, expected a tensor; ",
        ),
        (lambda outputs, targets: 0.5, OUTPUTS, NUMBERS, "the loss own returns float, expected a tensor; "),
        (
            lambda outputs, targets: outputs[:, 0] * 1j,
            OUTPUTS,
            NUMBERS,
            "the loss own returns complex numbers, expected real ones",
        ),
        (
            lambda outputs, targets: ((outputs - targets) ** 2).mean(dim=1),
            OUTPUTS[:, :1],
            NUMBERS[:, 0],
            "the loss own gives a sample ",
        ),
        (
            lambda outputs, targets: F.cross_entropy(outputs @ outputs.T, torch.arange(len(outputs))),
            OUTPUTS,
            CLASSES,
            "the loss own gives ",
        ),
        (
            lambda outputs, targets: ((outputs - outputs.mean(dim=0)) ** 2).mean(dim=1),
            OUTPUTS,
            CLASSES,
            "the loss own gives a sample 0 in a batch of 1 and ",
        ),
        (Focal(torch.tensor([0.2, 3.0, 1.0]), divided=True), OUTPUTS, CLASSES, "the loss own gives "),
        (
            lambda outputs, targets: F.cross_entropy(outputs, targets, torch.tensor([0.2, 3.0, 1.0])),
            OUTPUTS,
            CLASSES,
            "the loss own gives ",
        ),
        (
            lambda outputs, targets: ((outputs - targets) ** 2).sum(),
            OUTPUTS,
            NUMBERS,
            "the loss own gives ",
        ),
        (
            lambda outputs, targets: F.dropout(outputs, 0.5).mean(dim=1),
            OUTPUTS,
            NUMBERS,
            "the loss own is random: ",
        ),
        (
            lambda outputs, targets: outputs.mul_(2).mean(dim=1),
            OUTPUTS,
            NUMBERS,
            "the loss own changes its outputs ",
        ),
        (
            lambda outputs, targets: targets.mul_(2).mean(dim=1),
            OUTPUTS,
            NUMBERS,
            "the loss own changes its targets ",
        ),
        (
            lambda outputs, targets: F.cross_entropy(outputs, targets, reduction="none"),
            OUTPUTS,
            CLASSES.where(CLASSES > 0, -100),
            "the loss own is 0 for all ",
        ),
        (
            lambda outputs, targets: F.cross_entropy(outputs, targets, ignore_index=255, reduction="none"),
            OUTPUTS,
            CLASSES.where(CLASSES > 0, 255),
            "the loss own is 0 for all ",
        ),
        (
            _one_number,
            OUTPUTS,
            CLASSES.where(CLASSES > 0, -100),
            "the loss own gives ",
        ),
    ],
)
def test_what_is_no_function_of_each_sample_alone_is_one_line(loss, outputs, targets, line):
    with pytest.raises(ExperimentError) as refused:
        check_loss(users_loss(loss, "own"), outputs.clone(), targets.clone())
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


def test_another_average_is_told_with_both_numbers():
    weight = torch.tensor([0.2, 3.0, 1.0])
    losses = F.cross_entropy(OUTPUTS, CLASSES, reduction="none")
    own = float((weight[CLASSES] * losses).sum() / weight[CLASSES].sum())
    with pytest.raises(ExperimentError) as refused:
        check_loss(users_loss(lambda o, t: F.cross_entropy(o, t, weight), "own"), OUTPUTS, CLASSES)
    assert f"gives {own:.6g} for 11 samples at once, and the mean of the losses of each is" in str(
        refused.value
    )
    assert f"{float(losses.mean()):.6g}" in str(refused.value)


COUNTS = torch.tensor([0, 3, 1, 7, 0, 0, 1, 2, 0, 1, 5])


@pytest.mark.parametrize(
    ("targets", "known", "has_errors"),
    [
        (CLASSES, {}, True),
        (CLASSES, {"class_count": 3}, True),
        (CLASSES, {"class_count": 0}, False),
        (CLASSES, {"class_count": 8}, False),  # elsewhere in the data set
        (CLASSES, {"classes": False}, False),
        (COUNTS, {}, False),
        (COUNTS, {"class_count": 8, "classes": True}, True),
        (CLASSES - 1, {}, False),
        (NUMBERS, {}, False),
    ],
)
def test_targets_of_ones_own_loss_are_classes_where_all_of_them_can_be_or_as_is_said(
    targets, known, has_errors
):
    own = replace(users_loss(lambda outputs, targets: outputs[:, 0], "own"), **known)
    errors = own.errors(OUTPUTS, targets)
    assert (errors is not None) == has_errors
    if has_errors:
        assert torch.equal(errors, (OUTPUTS.argmax(dim=1) != targets).double())


def test_targets_that_were_said_to_be_classes_and_are_none_are_one_line():
    with pytest.raises(ExperimentError) as refused:
        replace(named_loss("mse"), classes=True).errors(OUTPUTS, NUMBERS)
    assert str(refused.value) == (
        "model.classes is true and the loss mse has outputs of the shape (11, 3), float32 and targets of the"
        " shape (11, 3), float32, expected integer targets and outputs with an axis of classes; set"
        " model.classes=null"
    )


def test_a_registered_loss_is_known_by_its_name_for_a_while():
    with loss_registration("mine", nn.L1Loss()):
        assert float(named_loss("mine")(OUTPUTS, NUMBERS).mean()) == pytest.approx(
            float(F.l1_loss(OUTPUTS, NUMBERS)), rel=1e-6
        )
    with pytest.raises(ExperimentError, match=r"^there is no loss 'mine' \(it has no colon\)"):
        named_loss("mine")
