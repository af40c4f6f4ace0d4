import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference import multimodel as reference

from lossmap.components.config.data import Data
from lossmap.components.config.models import Experts, MultiModel
from lossmap.components.data import pack
from lossmap.components.data.batches import load_images
from lossmap.components.landscape.hessian.operators import Hessian
from lossmap.components.landscape.objective import Problem, Samples, cross_entropy
from lossmap.components.models import build
from lossmap.components.models.multimodel_blocks import AttentionBlock, ConvolutionStep, ExpertBlock, TableNet
from lossmap.components.stores.objects import open_store

MODEL = MultiModel(width=8, blocks=1, heads=2, experts=Experts(count=4, active=2, hidden=6))
DATA = Data(
    source="tasks", tasks=("digits-images", "digits-tokens", "breast-cancer", "wine"), limit=6, test_limit=3
)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    store = open_store(str(tmp_path_factory.mktemp("store")))
    manifest = pack.prepare(DATA, store)
    return manifest, load_images(store, manifest, "train")


def _network(manifest):
    """In evaluation mode, float64, with gates that choose."""
    network = build(MODEL, manifest).double().eval()
    generator = torch.Generator().manual_seed(0)
    for block in network.body:
        block.experts.experts.gate.weight.data.normal_(generator=generator)
    return network


def _random(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(("size", "dilation"), [(3, 1), (7, 2)])
@torch.no_grad()
def test_a_convolution_step_equals_loops_over_places(size, dilation):
    torch.manual_seed(0)
    step, x = ConvolutionStep(4, size, dilation).double(), _random(2, 9, 4)
    expected = torch.stack([reference.convolution_step(sample, step) for sample in x])
    torch.testing.assert_close(step(x), expected, rtol=1e-10, atol=1e-10)  # float64 in another order


@torch.no_grad()
def test_attention_equals_loops_over_heads_and_places():
    torch.manual_seed(0)
    block, x = AttentionBlock(6, 2).double(), _random(2, 5, 6)
    expected = torch.stack([reference.attention(sample, block) for sample in x])
    torch.testing.assert_close(block(x), expected, rtol=1e-10, atol=1e-10)  # likewise


@torch.no_grad()
def test_the_experts_of_a_place_do_not_depend_on_other_places():
    torch.manual_seed(0)
    block = ExpertBlock(4, MODEL.experts).double().eval()
    block.experts.gate.weight.data.normal_()
    sequences = [_random(2, 3, 4), -_random(1, 5, 4)]
    for moved, x in zip(block(sequences), sequences, strict=True):
        for sample in range(len(x)):
            for place in range(x.shape[1]):
                (alone,) = block([x[sample : sample + 1, place : place + 1]])
                # float64 in another order
                torch.testing.assert_close(moved[sample, place], alone[0, 0], rtol=1e-10, atol=1e-12)


@torch.no_grad()
def test_a_table_has_a_place_for_each_column():
    torch.manual_seed(0)
    net = TableNet(5, 3).double()
    table = _random(2, 4)
    for sample in range(2):
        for column in range(4):
            torch.testing.assert_close(
                net(table)[sample, column], table[sample, column] * net.weight[column] + net.bias[column]
            )


@torch.no_grad()
def test_a_sample_gets_the_same_logits_alone_and_among_other_tasks(packed):
    manifest, images = packed
    network, rows = _network(manifest), images.pixels.double()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(2))
    together = network(rows[order])
    for at, index in enumerate(order.tolist()):
        # float64 in another order
        torch.testing.assert_close(together[at], network(rows[index : index + 1])[0], rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_cross_entropy_is_that_over_the_classes_of_the_task(packed):
    manifest, images = packed
    outputs = _network(manifest)(images.pixels.double())
    found, missed = (ask(outputs, images.labels) for ask in (cross_entropy, cross_entropy.errors))
    for task in manifest.tasks:
        lies = list(manifest.rows("train", task.name))
        own = outputs[lies, : len(task.classes)]
        assert torch.equal(found[lies], F.cross_entropy(own, images.labels[lies], reduction="none"))
        assert torch.equal(missed[lies], (own.argmax(dim=1) != images.labels[lies]).double())


def test_while_training_every_parameter_has_a_gradient_whichever_tasks_are_in_the_batch(packed):
    manifest, images = packed
    network = build(MODEL, manifest)
    F.cross_entropy(network(images.pixels[:2]), images.labels[:2]).backward()
    absent = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    assert {
        name for name in absent if ".experts." not in name
    } == set()  # an expert that nothing was sent to may have none
    assert not network.outputs["wine"].linear.weight.grad.any()
    assert network.outputs["digits-images"].linear.weight.grad.any()


@pytest.mark.parametrize("rows", [slice(0, 3), slice(5, 14)], ids=["one task", "several"])
def test_hessian_products_are_differences_of_gradients(packed, rows):
    manifest, images = packed
    network = _network(manifest)
    problem = Problem(network, cross_entropy, Samples(images.pixels[rows].double(), images.labels[rows], 4))
    hessian = Hessian(problem)
    vector = np.random.default_rng(0).normal(size=hessian.shape[0])

    def gradient(step):
        moved = copy.deepcopy(network)
        parts = torch.from_numpy(vector).split([parameter.numel() for parameter in moved.parameters()])
        for parameter, part in zip(moved.parameters(), parts, strict=True):
            parameter.data += step * part.reshape(parameter.shape)
        cross_entropy(moved(problem.samples.inputs), problem.samples.targets).mean().backward()
        found = [
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            for parameter in moved.parameters()
        ]
        return torch.cat([part.flatten() for part in found]).numpy()

    differences = (gradient(1e-6) - gradient(-1e-6)) / 2e-6
    # central differences in float64: 1e-16 / 1e-6 from rounding, and no kink within 1e-6
    np.testing.assert_allclose(
        hessian @ vector, differences, rtol=1e-5, atol=1e-6 * np.abs(differences).max()
    )
