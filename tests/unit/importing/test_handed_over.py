"""Data, losses and networks as PyTorch users have them: each surveyed, and compared with torch's own number
for all samples at once, in float64, at the moved weights.
"""

import copy
import random
import warnings
from collections import namedtuple
from dataclasses import dataclass, replace

import numpy as np
import pandas
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from lossmap.components import steps
from lossmap.components.config.data import IN_PROCESS, Data
from lossmap.components.config.experiment import Experiment
from lossmap.components.config.landscape import Axis, Curvature, Landscape, Plane
from lossmap.components.config.settings import Settings
from lossmap.components.core.errors import LossmapError
from lossmap.components.importing.given import Batches, Given
from lossmap.components.importing.in_process import in_process_model, pack
from lossmap.components.importing.network import import_network
from lossmap.components.surveys.problems import load_directions
from lossmap.components.surveys.stored_result import load_result
from lossmap.pipelines.local import open_run

N = 40
torch.manual_seed(0)
X, Z, Y = torch.randn(N, 4), torch.randn(N, 4), torch.randint(0, 3, (N,))
SAMPLES = TensorDataset(X, Y)
LENGTHS = [3 + index % 7 for index in range(N)]
TOKENS = [torch.randint(1, 9, (length,)) for length in LENGTHS]
WEIGHTS = torch.tensor([0.2, 1.0, 5.0])
SMALL = Landscape(plane=Plane(x=Axis(points=2), y=Axis(points=2)), line=None, samples=N, batch_size=16)


class Two(nn.Module):
    """Of two inputs or keywords; answers a dict where it is not told otherwise."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, first, second, scale=None):
        hidden = torch.tanh(self.first(first) * self.second(second))
        return {"logits": self.last(hidden), "hidden": hidden} if scale is None else self.last(hidden) * scale


@dataclass
class Answer:
    loss: Tensor | None
    logits: Tensor


class Tokens(nn.Module):
    """A language model with a loss of its own: the mean over the tokens whose label is not -100, of the next
    one each; or a classifier of what the mask leaves.
    """

    def __init__(self, classifies=False):
        super().__init__()
        self.classifies, self.embedding, self.last = classifies, nn.Embedding(9, 5), nn.Linear(5, 9)

    def forward(self, input_ids, labels=None, attention_mask=None):
        hidden = torch.tanh(self.embedding(input_ids))
        if self.classifies:
            mask = attention_mask[..., None].to(hidden.dtype)
            logits = self.last((hidden * mask).sum(1) / mask.sum(1))
            return Answer(None if labels is None else F.cross_entropy(logits, labels), logits)
        logits = self.last(hidden.cumsum(1))
        if labels is None:
            return Answer(None, logits)
        return Answer(F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()), logits)


def padded(items):
    """Token ids padded with 0 to the longest, and labels that pass over padding and a prompt."""
    ids = nn.utils.rnn.pad_sequence([item["input_ids"] for item in items], batch_first=True)
    labels = ids.masked_fill(ids == 0, -100)
    labels[:, 1] = -100
    return {"input_ids": ids, "labels": labels}


def classified(items):
    ids = nn.utils.rnn.pad_sequence([item["input_ids"] for item in items], batch_first=True)
    labels = torch.stack([item["labels"] for item in items])
    return {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": labels}


ITEMS = [{"input_ids": ids, "labels": label} for ids, label in zip(TOKENS, Y, strict=True)]
PROMPTED, CLASSIFIED = padded(ITEMS), classified(ITEMS)


WORDS = torch.arange(N) % 9


def projecting(projected):
    """Each pass scales the words that it meets to the length 1/2 at most."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Embedding(9, 4, max_norm=0.5), nn.Linear(4, 3))
    if projected:
        network(WORDS)
    return network


def linear():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def two():
    torch.manual_seed(1)
    return Two()


def language(classifies=False):
    torch.manual_seed(1)
    return Tokens(classifies)


def squeezed(network, batch):
    return network(**batch).loss


def weighed(network, batch):
    weights = WEIGHTS[batch[1]]
    return weights * F.cross_entropy(network(batch[0]), batch[1], reduction="none"), weights


def entropy(network):
    return F.cross_entropy(network(X.double()), Y)


def slope(network, batch):
    """How far the network's slope is from its value, as a differential equation is solved by networks."""
    inputs = batch.clone().requires_grad_()
    outputs = network(inputs).sum(1)
    [derivative] = torch.autograd.grad(outputs.sum(), inputs, create_graph=True)
    return (derivative[:, 0] - outputs).square().mean()


def of_both(network):
    return F.cross_entropy(network(X.double(), Z.double())["logits"], Y)


class Counting(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


Pair = namedtuple("Pair", ["x", "y"])
BY_LENGTH = [[place for place in range(N) if LENGTHS[place] == length] for length in range(3, 10)]

# what is handed over, and torch's number for all samples
TAKEN = {
    "tensors": (Given(linear(), "cross-entropy", X, Y), entropy),
    "arrays": (Given(linear(), nn.CrossEntropyLoss(), X.numpy(), Y.numpy()), entropy),
    "a Dataset": (Given(linear(), "cross-entropy", SAMPLES), entropy),
    "parts of Datasets": (
        Given(
            linear(),
            "cross-entropy",
            ConcatDataset([Subset(SAMPLES, range(9)), Subset(SAMPLES, range(9, N))]),
        ),
        entropy,
    ),
    "a list of samples": (Given(linear(), "cross-entropy", list(zip(X, Y.tolist(), strict=True))), entropy),
    "an IterableDataset": (Given(linear(), "cross-entropy", Counting()), entropy),
    "a loader of an IterableDataset": (
        Given(linear(), "cross-entropy", DataLoader(Counting(), 7, drop_last=True)),
        entropy,
    ),
    "a loader that shuffles": (
        Given(linear(), "cross-entropy", DataLoader(SAMPLES, 7, shuffle=True, drop_last=True)),
        entropy,
    ),
    "a loader of batches": (
        Given(linear(), "cross-entropy", DataLoader(list(DataLoader(SAMPLES, 7)), batch_size=None)),
        entropy,
    ),
    "workers": (Given(linear(), "cross-entropy", DataLoader(SAMPLES, 16, num_workers=1)), entropy),
    "a sampler of a subset": (
        Given(linear(), "cross-entropy", DataLoader(SAMPLES, 4, sampler=SubsetRandomSampler(range(5, 30)))),
        lambda network: F.cross_entropy(network(X[5:30].double()), Y[5:30]),
    ),
    "one of one processes": (
        Given(linear(), "cross-entropy", DataLoader(SAMPLES, 4, sampler=DistributedSampler(SAMPLES, 1, 0))),
        entropy,
    ),
    "two inputs": (Given(two(), "cross-entropy", DataLoader(TensorDataset(X, Z, Y), 7)), of_both),
    "two tensors": (Given(two(), nn.CrossEntropyLoss(), (X, Z), Y), of_both),
    "inputs within": (Given(two(), "cross-entropy", [((X[i], Z[i]), Y[i]) for i in range(N)]), of_both),
    "an output by its key": (
        Given(two(), lambda outputs, targets: outputs.square().mean(1), (X, Z), Y, output="hidden"),
        lambda network: network(X.double(), Z.double())["hidden"].square().mean(),
    ),
    "the whole answer": (
        Given(two(), lambda a, b: F.cross_entropy(a["logits"], b, reduction="none"), (X, Z), Y),
        of_both,
    ),
    "keywords": (
        Given(two(), "cross-entropy", {"first": X, "second": Z, "scale": X[:, :1], "label": Y}),
        lambda network: F.cross_entropy(network(X.double(), Z.double(), X[:, :1].double()), Y),
    ),
    "targets by their key": (
        Given(two(), "cross-entropy", {"first": X, "second": Z, "kind": Y}, "kind"),
        of_both,
    ),
    "a function of network and batch": (
        Given(linear(), lambda m, b: F.cross_entropy(m(b[0]), b[1]), DataLoader(SAMPLES, 7, shuffle=True)),
        entropy,
    ),
    "one for each sample": (
        Given(linear(), lambda network, b: F.cross_entropy(network(b[0]), b[1], reduction="none"), SAMPLES),
        entropy,
    ),
    "values and weights": (
        Given(linear(), weighed, SAMPLES),
        lambda network: F.cross_entropy(network(X.double()), Y, weight=WEIGHTS.double()),
    ),
    "named pairs": (
        Given(linear(), lambda network, batch: F.cross_entropy(network(batch.x), batch.y), Pair(X, Y)),
        entropy,
    ),
    "an autoencoder": (
        Given(linear(), lambda network, batch: network(batch).square().mean(), X),
        lambda network: network(X.double()).square().mean(),
    ),
    "a differential equation": (
        Given(linear(), slope, DataLoader(X, 8)),
        lambda network: slope(network, X.double()),
    ),
    "prompts of several lengths": (
        Given(language(), squeezed, DataLoader(ITEMS, 6, shuffle=True, collate_fn=padded)),
        lambda network: network(**PROMPTED).loss,
    ),
    "prompts in one batch": (Given(language(), squeezed, PROMPTED), lambda network: network(**PROMPTED).loss),
    "texts of several lengths": (
        Given(language(True), squeezed, DataLoader(ITEMS, 6, collate_fn=classified)),
        lambda network: network(**CLASSIFIED).loss,
    ),
    "logits of several lengths": (
        Given(
            language(True), "cross-entropy", DataLoader(ITEMS, batch_sampler=BY_LENGTH, collate_fn=classified)
        ),
        lambda network: network(**CLASSIFIED).loss,
    ),
    "a dict of one input of another name": (
        Given(linear(), "cross-entropy", DataLoader([{"image": X[i], "label": Y[i]} for i in range(N)], 7)),
        lambda network: F.cross_entropy(network(X.double()), Y),
    ),
    "data frames": (
        Given(linear(), "cross-entropy", pandas.DataFrame(X.numpy()), pandas.Series(Y.numpy())),
        lambda network: F.cross_entropy(network(X.double()), Y),
    ),
    "weights that a pass has projected": (
        Given(projecting(projected=True), "cross-entropy", (WORDS, Y)),
        lambda network: F.cross_entropy(network(WORDS), Y),
    ),
    "numbers": (
        Given(linear(), "mse", DataLoader(TensorDataset(X, Z[:, :3]), 7)),
        lambda network: F.mse_loss(network(X.double()), Z[:, :3].double()),
    ),
}


def surveyed(given, folder, landscape=SMALL, **data):
    """The run of what was handed over, evaluated."""
    with in_process_model(given) as taken:
        source = Data(source=IN_PROCESS, not_finite="keep" if given.not_finite else "refuse", **data)
        experiment = Experiment(data=source, model=taken.model, landscape=landscape)
        taken.check(landscape)
        run = open_run("run", Settings(store=str(folder), tracking="none"))
        steps.prepare(run, experiment, packed=pack(taken.tensors, source, run.store))
        import_network(run)
        steps.plan(run)
        steps.merge(run)
    return run


@pytest.mark.parametrize("kind", TAKEN)
def test_every_point_is_torchs_own_number_for_all_samples(kind, tmp_path):
    given, number = TAKEN[kind]
    before, state = copy.deepcopy(given.network.state_dict()), torch.get_rng_state()
    run = surveyed(given, tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    plane = load_result(run).planes[0]
    x, y = load_directions(run.store, run.survey.surfaces[0])
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        network = copy.deepcopy(given.network).double().eval()
        for name, parameter in network.named_parameters():
            if name in x:
                moved = plane.x[column] * x[name].double() + plane.y[row] * y[name].double()
                parameter.data += moved
        expected = float(number(network).detach())
        assert plane.loss[row, column] == pytest.approx(expected, rel=2e-6)  # the forward pass is float32
    trained = float(number(copy.deepcopy(given.network).double().eval()).detach())
    assert run.training_result["train"]["loss"] == pytest.approx(trained, rel=2e-6)
    assert all(torch.equal(value, before[name]) for name, value in given.network.state_dict().items())


def test_workers_that_all_go_through_a_stream_give_each_sample_once():
    batches = Batches.of(Given(linear(), "cross-entropy", DataLoader(Counting(), 7, num_workers=2)))
    assert torch.cat([inputs for inputs, _ in batches.train]).equal(X)


def test_an_order_at_random_changes_no_address(tmp_path):
    """Nor does asking for it change the user's own generator."""
    generator = torch.Generator().manual_seed(3)
    state = generator.get_state()
    digests = set()
    for loader in (
        DataLoader(SAMPLES, 7, shuffle=True, generator=generator),
        DataLoader(SAMPLES, 16, sampler=RandomSampler(SAMPLES, generator=generator)),
        DataLoader(SAMPLES, 9),
        SAMPLES,
    ):
        with in_process_model(Given(linear(), "cross-entropy", loader)) as taken:
            digests.add((taken.model.source_sha256, taken.tensors["inputs"].numpy().tobytes()))
    assert len(digests) == 1
    assert torch.equal(generator.get_state(), state)


def test_test_samples_are_of_any_kind(tmp_path):
    for test in (SAMPLES, DataLoader(SAMPLES, 8, shuffle=True), (X, Y)):
        run = surveyed(Given(linear(), "cross-entropy", DataLoader(SAMPLES, 5), test=test), tmp_path)
        assert run.training_result["test"] == pytest.approx(run.training_result["train"], rel=1e-6)
    apart = surveyed(
        Given(two(), "cross-entropy", (X, Z), Y, test=((X[:9], Z[:9]), Y[:9])), tmp_path / "apart"
    )
    assert apart.training_result["test"]["count"] == 9


def test_samples_are_limited_and_divided_as_tensors_are(tmp_path):
    run = surveyed(TAKEN["two inputs"][0], tmp_path, limit=20, split=0.25)
    assert [run.training_result[split]["count"] for split in ("train", "test")] == [20, 11]


@pytest.mark.parametrize(
    ("function", "weight"),
    [(weighed, WEIGHTS), (lambda network, batch: F.cross_entropy(network(batch[0]), batch[1]), None)],
    ids=["values and weights", "one number"],
)
def test_second_derivatives_are_those_of_the_users_function(function, weight, tmp_path):
    curvature = Curvature(samples=N, trace_products=4, top=1, bottom=1, tolerance=1e-6)
    landscape = SMALL.model_copy(update={"curvature": curvature})
    run = surveyed(Given(linear(), function, SAMPLES), tmp_path, landscape)
    network = copy.deepcopy(linear()).double()
    names = list(dict(network.named_parameters()))

    def loss(*parameters):
        outputs = torch.func.functional_call(network, dict(zip(names, parameters, strict=True)), X.double())
        return F.cross_entropy(outputs, Y, weight=None if weight is None else weight.double())

    blocks = torch.autograd.functional.hessian(loss, tuple(network.parameters()))
    sizes = [parameter.numel() for parameter in network.parameters()]
    rows = [
        torch.cat([block.reshape(size, -1) for block in row], 1)
        for row, size in zip(blocks, sizes, strict=True)
    ]
    dense = torch.linalg.eigvalsh(torch.cat(rows))
    found = load_result(run).curvature
    assert found.largest[0].estimate.value == pytest.approx(float(dense[-1]), rel=1e-4)
    assert found.smallest[0].estimate.value == pytest.approx(float(dense[0]), rel=1e-3, abs=1e-6)


def branching(network, batch):
    """A mean whose function asks what its numbers are."""
    loss = F.cross_entropy(network(batch[0]), batch[1])
    return loss if float(loss.detach()) >= 0 else -loss


class Keeping(nn.Module):
    """Keeps its last activations, as hooks do."""

    def __init__(self):
        super().__init__()
        self.layer, self.last = linear(), None

    def forward(self, inputs):
        self.last = self.layer(inputs)
        return self.last


@pytest.mark.parametrize(
    ("given", "in_one_go"),
    [
        (Given(linear(), lambda network, batch: F.cross_entropy(network(batch[0]), batch[1]), SAMPLES), True),
        (Given(language(), squeezed, DataLoader(ITEMS, 6, collate_fn=padded)), True),
        (Given(linear(), branching, SAMPLES), False),
        (
            Given(Keeping(), lambda network, batch: F.cross_entropy(network(batch[0]), batch[1]), SAMPLES),
            False,
        ),
    ],
    ids=["one shape", "several shapes", "a branch", "a network that keeps something"],
)
def test_samples_are_asked_alone_in_one_go_where_that_gives_the_same(given, in_one_go):
    with in_process_model(given) as taken:
        one_by_one = replace(taken.call, mapped=False)
        rows = taken.tensors["inputs"]
        with torch.no_grad():
            found, expected = (call(given.network, rows) for call in (taken.call, one_by_one))
    assert taken.call.mapped is in_one_go
    assert torch.allclose(found, expected, rtol=2e-6)  # the forward pass is float32


class Drawing(Dataset):
    """Some of whose items are drawn anew."""

    def __init__(self, draw):
        self._draw = draw

    def __len__(self):
        return N

    def __getitem__(self, index):
        return {"x": X[index] + (self._draw() if index > 30 else 0), "y": Y[index]}


class Once(IterableDataset):
    def __init__(self):
        self._left = iter(zip(X, Y, strict=True))

    def __iter__(self):
        return self._left


def masked(items):
    return torch.stack([x for x, _ in items]) * torch.bernoulli(torch.full((4,), 0.5)), Y[: len(items)]


def contrasted(network, batch):
    outputs = network(batch[0])
    return F.cross_entropy(outputs @ outputs.T, torch.arange(len(outputs)))


def learnt_weights(network, batch):
    outputs = network(batch[0])
    return outputs.square().mean(1), outputs.square().sum(1).detach()


def half_quantized():
    with warnings.catch_warnings(action="ignore"):  # torch moves it to another package
        return nn.Sequential(torch.ao.nn.quantized.dynamic.Linear(4, 5), nn.Linear(5, 3))


RARE = (2 * (torch.arange(20 * N) % 2)).index_fill(0, torch.tensor([123, 457]), 1)
RANDOM = "what draws at random, as augmentation, masking"
SEVERAL = "expected every sample once; hand over its Dataset"
REFUSED = {
    "lazy layers": (
        Given(nn.Sequential(nn.Linear(4, 5), nn.LazyLinear(3)), "cross-entropy", SAMPLES),
        "the network Sequential has no weights yet in 1.weight, 1.bias: lazy layers make them in their first",
        "call it on a batch",
    ),
    "quantized layers": (
        Given(half_quantized(), "cross-entropy", SAMPLES),
        "the layer 0 (Linear) of torch.ao.nn.quantized.dynamic.modules.linear is quantized",
        "survey the network as it was before",
    ),
    "no values": (
        Given(nn.Linear(4, 3, device="meta"), "cross-entropy", SAMPLES),
        "the network Linear has no values in weight, bias, which are on the device meta",
        "load its weights",
    ),
    "batches in a list": (
        Given(linear(), "cross-entropy", [(X[:5], Y[:5]), (X[5:], Y[5:])]),
        "targets of samples have the shapes (35,), (5,), expected one",
        "DataLoader(batches, batch_size=None)",
    ),
    "torch draws": (
        Given(linear(), "cross-entropy", Drawing(lambda: torch.randn(()))),
        "data['x'] differs",
        RANDOM,
    ),
    "numpy draws": (Given(linear(), "cross-entropy", Drawing(np.random.rand)), "data['x'] differs", RANDOM),
    "Python draws": (
        Given(linear(), "cross-entropy", DataLoader(Drawing(random.random), 8)),
        "data['x'] differs when it is read again, by up to 0.",
        RANDOM,
    ),
    "workers draw": (
        Given(linear(), "cross-entropy", DataLoader(Drawing(lambda: torch.randn(())), 8, num_workers=1)),
        "data['x'] differs",
        RANDOM,
    ),
    "masks": (
        Given(linear(), "cross-entropy", DataLoader(SAMPLES, 8, collate_fn=masked)),
        "data[0] differs",
        RANDOM,
    ),
    "an iterator": (
        Given(linear(), "cross-entropy", Once()),
        "data has 40 batches when it is read once and 0",
        "",
    ),
    "with replacement": (
        Given(linear(), "cross-entropy", DataLoader(SAMPLES, 8, sampler=WeightedRandomSampler([1.0] * N, N))),
        "data draws samples several times (40 of ",
        SEVERAL,
    ),
    "some at random": (
        Given(
            linear(), "cross-entropy", DataLoader(SAMPLES, 8, sampler=RandomSampler(SAMPLES, num_samples=9))
        ),
        "data draws some of its samples at random",
        SEVERAL,
    ),
    "one process of two": (
        Given(linear(), "cross-entropy", DataLoader(SAMPLES, 8, sampler=DistributedSampler(SAMPLES, 2, 0))),
        "data draws for one of 2 processes (DistributedSampler)",
        SEVERAL,
    ),
    "nothing": (Given(linear(), "cross-entropy", []), "data has no samples", ""),
    "a generator": (
        Given(linear(), "cross-entropy", iter([1])),
        "data is list_iterator, expected a DataLoader,",
        "",
    ),
    "texts": (
        Given(
            linear(),
            "cross-entropy",
            DataLoader([{"x": X[0], "text": "a", "y": 0}, {"x": X[1], "text": "b", "y": 1}], 2),
        ),
        "batch['text'][0] is str, expected tensors",
        "",
    ),
    "no targets": (
        Given(linear(), "cross-entropy", DataLoader(X, 8)),
        "a batch is Tensor, expected inputs and",
        "",
    ),
    "targets of no name": (
        Given(linear(), "cross-entropy", {"x": X, "kind": Y}),
        "a batch has 'x', 'kind', expected one key of the targets; name it",
        "",
    ),
    "several outputs": (
        Given(nn.Bilinear(4, 4, 3), "cross-entropy", (X, Z), Y, output="logits"),
        "the network Bilinear returns Tensor",
        "",
    ),
    "NaN in a dict": (
        Given(two(), "cross-entropy", {"first": X / 0 * 0, "second": Z, "y": Y}),
        "batch['first'] of in process has values that are not finite",
        "",
    ),
    "counts": (
        Given(two(), "cross-entropy", {"first": X, "second": Z[:9], "y": Y}),
        "inputs['second'] (9, 4) and targets (40,)",
        "sample",
    ),
    "others of the batch": (
        Given(linear(), contrasted, DataLoader(SAMPLES, 8)),
        "the loss in process contrasted",
        "pair",
    ),
    "a sum": (
        Given(
            linear(),
            lambda network, batch: F.cross_entropy(network(batch[0]), batch[1], reduction="sum"),
            SAMPLES,
        ),
        "the loss in process <lambda> gives ",
        "let it return a pair of tensors, the values v and the weights w of each sample",
    ),
    "weights of classes within": (
        Given(linear(), lambda network, b: F.cross_entropy(network(b[0]), b[1], WEIGHTS.to(b[0])), SAMPLES),
        "the loss in process <lambda> gives ",
        "let it return a pair of tensors, the values v and the weights w of each sample",
    ),
    "a weight of a class that two samples in 800 have": (
        Given(
            linear(),
            lambda network, b: F.cross_entropy(network(b[0]), b[1], torch.tensor([1.0, 50.0, 1.0]).to(b[0])),
            (X.repeat(20, 1), RARE),
        ),
        "the loss in process <lambda> gives ",
        "let it return a pair of tensors, the values v and the weights w of each sample",
    ),
    "lengths without padding": (
        Given(language(), squeezed, [{"input_ids": ids, "labels": ids} for ids in TOKENS]),
        "how the loss in process squeezed weighs samples cannot be seen: samples count alike, or",
        "a DataLoader whose collate_fn pads them",
    ),
    "weights that a pass projects": (
        Given(projecting(projected=False), "cross-entropy", (WORDS, Y)),
        "Sequential changes 0.weight in a forward pass in evaluation mode",
        "where a pass projects the weights (max_norm), give those that it leaves",
    ),
    "weights of the network": (
        Given(linear(), learnt_weights, SAMPLES),
        "the weights of samples in the loss",
        "alone",
    ),
    "a key that the network does not take": (
        Given(two(), "cross-entropy", {"first": X, "second": Z, "number": Y, "y": Y}),
        "the network Two fails on batch['first'] (8, 4), batch['second'] (8, 4), batch['number'] (8,):"
        " TypeError",
        "unexpected keyword argument 'number'",
    ),
    "a test set of another shape": (
        Given(linear(), "cross-entropy", SAMPLES, test=TensorDataset(torch.randn(5, 6), Y[:5])),
        "the network Sequential fails on batch (1, 6): RuntimeError",
        "",
    ),
    "its own failure": (
        Given(linear(), lambda network, batch: network(batch["x"]), SAMPLES),
        "the loss in process <lambda> fails on the network Sequential and a batch: TypeError",
        "",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_surveyed_as_it_is_is_one_line(kind, tmp_path):
    given, beginning, part = REFUSED[kind]
    with pytest.raises(LossmapError) as refused:
        surveyed(given, tmp_path)
    line = str(refused.value)
    assert line.startswith(beginning), line
    assert part in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("kind", "asked", "line"),
    [
        (
            "values and weights",
            {"curvature": Curvature(gauss_newton=True)},
            "landscape.curvature.gauss_newton is true and the loss is one of network and batch, expected"
            " one of",
        ),
        (
            "a function of network and batch",
            {"batch_norm": "reestimated"},
            "landscape.batch_norm is reestimated and samples do not go through the network in whole"
            " batches, since",
        ),
        (
            "logits of several lengths",
            {"batch_norm": "reestimated"},
            "landscape.batch_norm is reestimated and",
        ),
    ],
)
def test_what_a_way_of_calling_leaves_unknown_is_refused(kind, asked, line, tmp_path):
    with pytest.raises(LossmapError) as refused:
        surveyed(TAKEN[kind][0], tmp_path, SMALL.model_copy(update=asked))
    assert str(refused.value).startswith(line)


class Normed(nn.Module):
    """BatchNorm behind two inputs."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(8, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)

    def forward(self, x, z):
        return self.last(self.norm(self.first(torch.cat([x, z], 1))))


def test_statistics_of_batches_are_reestimated_through_any_call(tmp_path):
    torch.manual_seed(2)
    network = Normed()
    landscape = SMALL.model_copy(update={"batch_norm": "reestimated", "batch_size": N})
    run = surveyed(Given(network, "cross-entropy", (X, Z), Y), tmp_path, landscape)
    plane, (x, y) = load_result(run).planes[0], load_directions(run.store, run.survey.surfaces[0])
    moved = copy.deepcopy(network).double().train()  # normalises by the one batch there is
    for name, parameter in moved.named_parameters():
        parameter.data += plane.x[1] * x[name].double() + plane.y[0] * y[name].double()
    hidden = moved.first(torch.cat([X, Z], 1).double())
    normed = (hidden - hidden.mean(0)) / (hidden.var(0) + moved.norm.eps).sqrt()
    outputs = moved.last(normed * moved.norm.weight + moved.norm.bias)
    assert plane.loss[0, 1] == pytest.approx(float(F.cross_entropy(outputs, Y).detach()), rel=2e-6)


def test_a_loss_that_is_not_the_networks_own_is_told(caplog):
    for given, told in (
        (Given(language(), "cross-entropy", PROMPTED), True),  # of this token, not of the next one
        (Given(language(True), "cross-entropy", CLASSIFIED), False),
    ):
        caplog.clear()
        with in_process_model(given):
            pass
        assert ("the network's own loss of 8 samples is " in caplog.text) == told


def test_a_loss_that_has_the_networks_own_weights_is_refused():
    network = nn.Linear(4, 3)

    def penalty(of):
        return 0.1 * sum(parameter.pow(2).sum() for parameter in of.parameters())

    def closed_over(outputs, targets):
        return F.cross_entropy(outputs, targets, reduction="none") + penalty(network)

    criterion = nn.Linear(2, 2)

    def learnt(outputs, targets):
        return F.cross_entropy(outputs, targets, reduction="none") + penalty(criterion)

    def of_batch(network, batch):
        return F.cross_entropy(network(batch[0]), batch[1]) + penalty(network)

    with (
        pytest.raises(LossmapError, match=r"closed_over has parameters of the network besides its arguments"),
        in_process_model(Given(network, closed_over, SAMPLES)),
    ):
        pass
    for loss in (learnt, of_batch):
        with in_process_model(Given(network, loss, SAMPLES)) as taken:
            assert taken.model.loss.endswith(loss.__qualname__)
