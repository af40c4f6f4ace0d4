from functools import partial

import pytest
import torch
import torch.nn.functional as F
from reference.losses import criteria, torchs_own, with_ignored
from torch import nn

from lossmap.components.core.errors import ExperimentError
from lossmap.components.landscape.losses.checks import check_loss
from lossmap.components.landscape.losses.torch_losses import TorchLoss
from lossmap.components.landscape.objective import cross_entropy, named_loss, users_loss

CRITERIA = criteria()


def _loss(criterion, name="own"):
    return named_loss(criterion) if isinstance(criterion, str) else users_loss(criterion, name)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss")
@pytest.mark.parametrize("name", CRITERIA)
def test_a_loss_over_samples_is_torchs_own_number_for_all_of_them(name):
    criterion, outputs, targets = CRITERIA[name]
    loss = _loss(criterion)
    check_loss(loss, outputs, targets)
    # float64 both; sums in another order
    assert float(loss.over(targets)(outputs, targets).mean()) == pytest.approx(
        torchs_own(criterion, outputs, targets), rel=1e-12
    )


@pytest.mark.parametrize("name", CRITERIA)
def test_a_samples_loss_is_the_same_in_any_batch(name):
    criterion, outputs, targets = CRITERIA[name]
    loss = _loss(criterion)
    parts = [
        loss(*pair) for size in (1, 5) for pair in zip(outputs.split(size), targets.split(size), strict=True)
    ]
    torch.testing.assert_close(torch.cat(parts), loss(outputs, targets).repeat(2), rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.NLLLoss2d. has been deprecated:FutureWarning")
def test_every_loss_of_torch_is_known_or_refused():
    refused = set()
    for kind in vars(nn.modules.loss).values():
        if not (
            isinstance(kind, type) and issubclass(kind, nn.modules.loss._Loss) and kind.__name__[0] != "_"
        ):
            continue
        try:
            assert isinstance(users_loss(kind, kind.__name__), TorchLoss)
        except ExperimentError:
            refused.add(kind.__name__)
    assert refused == {
        "CTCLoss",
        "CosineEmbeddingLoss",
        "GaussianNLLLoss",
        "LinearCrossEntropyLoss",
        "MarginRankingLoss",
        "TripletMarginLoss",
        "TripletMarginWithDistanceLoss",
    }


class Fivefold(nn.CrossEntropyLoss):
    def __call__(self, outputs, targets):
        return 5 * super().__call__(outputs, targets)


def _hooked(change):
    criterion = nn.CrossEntropyLoss()
    change(criterion)
    return criterion


@pytest.mark.parametrize(
    "criterion",
    [
        Fivefold(),
        _hooked(lambda loss: loss.register_forward_hook(lambda *_: 5 * _[-1])),
        _hooked(lambda loss: loss.register_forward_pre_hook(lambda _, pair: (2 * pair[0], pair[1]))),
        _hooked(lambda loss: setattr(loss, "forward", lambda *pair: 5 * F.cross_entropy(*pair))),
    ],
    ids=["call", "hook", "hook before", "forward"],
)
def test_a_loss_of_torch_that_is_called_in_another_way_is_taken_as_it_is_called(criterion):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    targets = torch.randint(3, (9,), generator=generator)
    found = float(users_loss(criterion, "own")(outputs, targets).mean())
    assert found == pytest.approx(float(criterion(outputs, targets)), rel=1e-12)


def test_a_weighted_mean_written_out():
    weights, classes = [0.2, 3.0], torch.tensor([0, 1, 1, -100])
    outputs = torch.tensor([[1.0, 2.0], [0.5, 0.5], [3.0, 1.0], [9.0, 9.0]], dtype=torch.float64)
    probabilities = outputs.exp() / outputs.exp().sum(dim=1, keepdim=True)
    losses = [-float(probabilities[n, c].log()) for n, c in enumerate([0, 1, 1])]
    expected = (0.2 * losses[0] + 3 * losses[1] + 3 * losses[2]) / 6.2
    loss = users_loss(nn.CrossEntropyLoss(weight=torch.tensor(weights)), "own").over(classes)
    assert float(loss(outputs, classes).mean()) == pytest.approx(expected, rel=1e-7)  # weights are float32
    torch.testing.assert_close(loss.weights(classes).mean(), torch.tensor(1.0, dtype=torch.float64))


def test_integer_labels_and_numbers_are_those_in_floating_point():
    torch.manual_seed(0)
    outputs, labels = torch.randn(9, 3), torch.randint(2, (9, 3))
    for criterion in (nn.BCEWithLogitsLoss(), nn.MSELoss()):
        for targets in (labels, labels.bool(), labels.to(torch.uint8)):
            found = float(users_loss(criterion, "own")(outputs, targets).mean())
            assert found == pytest.approx(float(criterion(outputs, labels.float())), rel=1e-6)


def test_outputs_and_targets_with_and_without_an_axis_of_one_are_never_broadcast():
    torch.manual_seed(0)
    outputs, targets = torch.randn(8, 1), torch.randn(8)
    expected = float(((outputs[:, 0] - targets) ** 2).mean())
    for pair in ((outputs, targets), (outputs[:, 0], targets[:, None]), (outputs[..., None], targets)):
        assert float(named_loss("mse")(*pair).mean()) == pytest.approx(expected, rel=1e-6)


def test_a_flat_output_is_compared_with_a_picture():
    torch.manual_seed(0)
    outputs, targets = torch.randn(4, 12), torch.randn(4, 1, 3, 4)
    found = float(named_loss("mse")(outputs, targets).mean())
    assert found == pytest.approx(float(F.mse_loss(outputs, targets.flatten(1))), rel=1e-6)


def test_classes_are_the_second_axis_and_the_last_where_the_second_does_not_fit():
    torch.manual_seed(0)
    outputs, targets = torch.randn(6, 5, 5), torch.randint(5, (6, 5))
    assert float(cross_entropy(outputs, targets).mean()) == pytest.approx(
        float(F.cross_entropy(outputs, targets)), rel=1e-6
    )
    outputs = torch.randn(6, 5, 4)
    torch.testing.assert_close(
        cross_entropy(outputs, targets % 4), cross_entropy(outputs.movedim(-1, 1), targets % 4)
    )
    missed = (outputs.argmax(dim=-1) != targets % 4).double().mean(dim=1)
    assert torch.equal(cross_entropy.errors(outputs, targets % 4), missed)


def test_one_target_for_each_sample_may_have_an_axis_of_its_own():
    outputs, targets = torch.eye(3), torch.tensor([[0], [2], [2]])
    torch.testing.assert_close(cross_entropy(outputs, targets), cross_entropy(outputs, targets[:, 0]))
    assert cross_entropy.errors(outputs, targets).tolist() == [0, 1, 0]
    assert cross_entropy.weights(targets).tolist() == [1, 1, 1]


def test_ignored_targets_are_no_wrong_answers_and_no_right_ones():
    outputs, targets = torch.eye(4), torch.tensor([0, -100, 2, 1])
    missed, counted = cross_entropy.errors(outputs, targets), cross_entropy.answers(targets)
    assert (missed.tolist(), counted.tolist()) == ([0, 0, 0, 1], [1, 0, 1, 1])
    places = with_ignored(torch.zeros(4, 5, dtype=torch.int64))
    assert cross_entropy.answers(places).tolist() == pytest.approx([0.6, 0.6, 0, 0.6])


@pytest.mark.parametrize(
    ("criterion", "outputs", "targets", "errors"),
    [
        (nn.BCEWithLogitsLoss(), [[0.1, -2.0], [3.0, 1.0]], [[1, 1], [1, 0]], [0.5, 0.5]),
        (nn.BCEWithLogitsLoss(), [0.1, -2.0], [0, 0], [1, 0]),
        (nn.BCELoss(), [[0.6], [0.4]], [1.0, 1.0], [0, 1]),
        (nn.SoftMarginLoss(), [[0.6], [-0.4]], [-1.0, -1.0], [1, 0]),
        (nn.MultiLabelSoftMarginLoss(), [[0.6, -1.0]], [[0.0, 0.0]], [0.5]),
        (nn.MultiMarginLoss(), [[0.6, 0.4], [0.0, 1.0]], [0, 0], [0, 1]),
        (nn.BCEWithLogitsLoss(), [0.1, -2.0], [0.3, 1.0], None),
        (nn.MSELoss(), [[0.1], [2.0]], [0, 1], None),
        (nn.PoissonNLLLoss(), [[0.1], [2.0]], [0, 1], None),
        (nn.CrossEntropyLoss(), [[0.1, 0.9]], [[0.5, 0.5]], None),
    ],
)
def test_answers_are_wrong_where_there_are_classes_or_labels(criterion, outputs, targets, errors):
    found = users_loss(criterion, "own").errors(torch.tensor(outputs), torch.tensor(targets))
    assert (found if found is None else found.tolist()) == errors


@pytest.mark.parametrize(
    ("criterion", "line"),
    [
        (
            nn.CrossEntropyLoss(reduction="sum"),
            "the loss own has reduction='sum', a number that grows with the count of samples, expected"
            " reduction='mean'; for another average hand over a function of outputs and targets that returns"
            " one loss for each sample",
        ),
        (partial(F.mse_loss, reduction="sum"), "the loss own has reduction='sum', a number that grows "),
        (
            nn.KLDivLoss(reduction="sum"),
            "the loss own has reduction='sum', a number that grows with the count of samples, expected"
            " reduction='mean' or 'batchmean'; ",
        ),
        (
            nn.CrossEntropyLoss(weight=torch.ones(3), reduction="none"),
            "the loss own has reduction='none', which does not say whether a mean is to be divided by ",
        ),
        (nn.GaussianNLLLoss(), "the loss own takes input, target, var, expected a function of outputs and "),
        (nn.CTCLoss, "the loss own takes log_probs, targets, input_lengths, target_lengths, expected a "),
        (F.cosine_embedding_loss, "the loss own takes input1, input2, target, "),
        (nn.AdaptiveLogSoftmaxWithLoss, "the loss own cannot be used: TypeError: "),
    ],
)
def test_what_is_no_mean_over_samples_is_one_line(criterion, line):
    with pytest.raises(ExperimentError) as refused:
        users_loss(criterion, "own")
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("criterion", "outputs", "targets", "line"),
    [
        (
            "mse",
            torch.zeros(5, 3),
            torch.zeros(5, 2),
            "the loss mse has outputs of the shape (5, 3), float32 and targets of the shape (5, 2), float32,"
            " expected one shape: a target for each output",
        ),
        (
            "mse",
            torch.zeros(5, 3),
            torch.zeros(5),
            "the loss mse has outputs of the shape (5, 3), float32 and ",
        ),
        (
            "mse",
            torch.zeros(5, 2, 3, 4),
            torch.zeros(5, 4, 3, 2),
            "the loss mse has outputs of the shape (5, 2, ",
        ),
        (
            "mse",
            torch.zeros(5, 3, dtype=torch.complex64),
            torch.zeros(5, 3),
            "the loss mse has outputs of the type complex64, expected real numbers; ",
        ),
        (
            "cross-entropy",
            torch.zeros(5, 3),
            torch.zeros(5),
            "the loss cross-entropy has outputs of the shape (5, 3), float32 and targets of the shape (5,),"
            " float32, expected integer targets and outputs that have their shape and one axis more",
        ),
        (
            "cross-entropy",
            torch.zeros(5, 1),
            torch.zeros(5).long(),
            "the loss cross-entropy has outputs of the ",
        ),
        (
            "cross-entropy",
            torch.zeros(5, 3),
            torch.full((5,), 3),
            "the loss cross-entropy fails on outputs of the shape (5, 3), float32 and targets of the shape"
            " (5,), int64: IndexError: Target 3 is out of bounds.; expected targets from 0 to 2, of the"
            " outputs' 3 classes, or -100",
        ),
        (
            nn.CrossEntropyLoss(weight=torch.ones(2)),
            torch.zeros(5, 3),
            torch.full((5,), 2),
            "targets are 2 to 2 and the loss own has weights of 2 classes, expected targets from 0 to 1",
        ),
        (
            nn.BCELoss(weight=torch.ones(5, 1)),
            torch.rand(5, 3),
            torch.rand(5, 3),
            "the loss own fails on outputs of the shape (1, 3), float32 and targets of the shape (1, 3),"
            " float32",
        ),
        (
            nn.CrossEntropyLoss(),
            torch.zeros(5, 3),
            torch.full((5,), -100),
            "the weights of all 5 samples add up to 0 in the loss own, expected more than 0: targets that"
            " count, and are not ignored (as -100 is)",
        ),
    ],
)
def test_what_does_not_fit_together_is_one_line(criterion, outputs, targets, line):
    loss = _loss(criterion)
    with pytest.raises(ExperimentError) as refused:
        check_loss(loss.over(targets), outputs, targets)
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)
