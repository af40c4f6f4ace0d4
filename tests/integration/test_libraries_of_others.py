"""Networks of transformers and timm, made from configurations, as their users hand them over."""

import copy
import importlib
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lossmap.components.config.landscape import Axis, Curvature, Landscape, Plane
from lossmap.components.stores.objects import open_store
from lossmap.components.stores.runs import Run
from lossmap.components.surveys.problems import load_directions
from lossmap.pipelines.api import survey

pytestmark = [
    pytest.mark.slow,  # importing the two takes as long as all of it
    pytest.mark.filterwarnings("default"),  # theirs are not ours
]

N = 20
SMALL = Landscape(plane=Plane(x=Axis(points=2), y=Axis(points=2)), line=None, samples=N, batch_size=8)
LENGTHS = [3 + 5 * index % 8 for index in range(N)]


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers", reason="transformers is not installed: make .venv/installed")


@pytest.fixture(scope="module")
def timm():
    pytest.importorskip("timm.loss", reason="timm is not installed: make .venv/installed")
    return importlib.import_module("timm")


@pytest.fixture(scope="module")
def texts(transformers):
    """Samples of token ids, and how they become a batch."""
    generator = torch.Generator().manual_seed(0)
    ids = [torch.randint(1, 50, (length,), generator=generator) for length in LENGTHS]
    samples = [{"input_ids": each, "label": index % 3} for index, each in enumerate(ids)]

    def padded(items):
        whole = nn.utils.rnn.pad_sequence([item["input_ids"] for item in items], batch_first=True)
        return transformers.BatchEncoding({"input_ids": whole, "attention_mask": (whole != 0).long()})

    def classified(items):
        padded_items = padded(items)
        padded_items["labels"] = torch.tensor([item["label"] for item in items])
        return padded_items

    def answered(items):
        """Labels of the answer alone: neither of the prompt, two tokens, nor of padding."""
        padded_items = padded(items)
        labels = padded_items["input_ids"].masked_fill(padded_items["attention_mask"] == 0, -100)
        labels[:, :2] = -100
        padded_items["labels"] = labels
        return padded_items

    return SimpleNamespace(samples=samples, classified=classified, answered=answered)


@pytest.fixture
def bert(transformers):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return transformers.BertForSequenceClassification(
        transformers.BertConfig(vocab_size=50, max_position_embeddings=16, num_labels=3, **sizes)
    )


@pytest.fixture
def gpt(transformers):
    torch.manual_seed(0)
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=50, **sizes, **ends))


def own_loss(network, batch):
    return network(**batch).loss


def compare(result, network, number):
    """Every point with torch's own number for all samples, in float64."""
    run = Run(open_store(result.store), result.run)
    x, y = load_directions(run.store, run.survey.surfaces[0])
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        moved = copy.deepcopy(network).double().eval()
        for name, parameter in moved.named_parameters():
            if name in x:
                parameter.data += result.plane.x[column] * x[name].double()
                parameter.data += result.plane.y[row] * y[name].double()
        with torch.no_grad():
            expected = float(number(moved))
        assert result.plane.loss[row, column] == pytest.approx(expected, rel=1e-5)  # a float32 forward pass
    with torch.no_grad():
        trained = float(number(copy.deepcopy(network).double().eval()))
    assert result.scalars["train_loss"] == pytest.approx(trained, rel=1e-5)


def test_a_classifier_of_texts_by_its_own_loss_and_by_its_logits(bert, texts):
    loader = DataLoader(texts.samples, 6, shuffle=True, collate_fn=texts.classified)
    whole = texts.classified(texts.samples)
    curvature = SMALL.model_copy(update={"curvature": Curvature(samples=N, trace_products=4)})
    by_loss = survey(bert, own_loss, loader, landscape=curvature, quiet=True)
    by_logits = survey(bert, "cross-entropy", loader, landscape=curvature, quiet=True)
    for result in (by_loss, by_logits):
        compare(result, bert, lambda network: network(**whole).loss)
    with torch.no_grad():
        wrong = bert.eval()(**whole).logits.argmax(1) != whole["labels"]
    assert by_logits.scalars["train_error"] == float(wrong.double().mean())
    largest = [result.scalars["hessian_largest"] for result in (by_loss, by_logits)]
    assert largest[0] == pytest.approx(largest[1], rel=1e-3)


def test_a_language_model_is_averaged_over_the_tokens_that_count(gpt, texts):
    loader = DataLoader(texts.samples, 6, shuffle=True, collate_fn=texts.answered)
    whole = texts.answered(texts.samples)
    result = survey(gpt, own_loss, loader, landscape=SMALL, quiet=True)
    compare(result, gpt, lambda network: network(**whole).loss)
    batches = [
        own_loss(gpt.eval(), batch).item()
        for batch in DataLoader(texts.samples, 6, collate_fn=texts.answered)
    ]
    assert (
        abs(result.scalars["train_loss"] - sum(batches) / len(batches)) > 1e-3
    )  # which is no mean of batches'


def test_images_by_an_answer_with_logits(transformers):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.ViTConfig(image_size=16, patch_size=8, num_labels=3, **sizes)
    network = transformers.ViTForImageClassification(config)
    images, labels = torch.randn(N, 3, 16, 16), torch.arange(N) % 3
    loader = DataLoader(TensorDataset(images, labels), 6, shuffle=True)
    result = survey(network, "cross-entropy", loader, landscape=SMALL, quiet=True)
    compare(result, network, lambda moved: F.cross_entropy(moved(images.double()).logits, labels))


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("resnet10t", {}),
        ("vit_tiny_patch16_224", {"img_size": 32, "depth": 1, "embed_dim": 24, "num_heads": 2}),
    ],
)
def test_networks_of_timm(name, sizes, timm):
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=3, pretrained=False, **sizes)
    images, labels = torch.randn(N, 3, 32, 32), torch.arange(N) % 3
    loader = DataLoader(TensorDataset(images, labels), 6, shuffle=True)
    loss = timm.loss.LabelSmoothingCrossEntropy(0.1)
    result = survey(network, loss, loader, landscape=SMALL, quiet=True)
    compare(
        result, network, lambda moved: F.cross_entropy(moved(images.double()), labels, label_smoothing=0.1)
    )
