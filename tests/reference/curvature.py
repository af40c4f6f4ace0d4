"""Curvature by slow and obvious routes, in float64: dense matrices, closed forms, and problems whose
answer is known.
"""

import copy
import itertools

import numpy as np
import torch
from torch import nn

from lossmap.components.landscape.objective import Problem, Samples, cross_entropy, mean_squared_error


class Weights(nn.Module):
    """A network whose outputs are its parameters, whatever the input."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(torch.as_tensor(weights, dtype=torch.float64))

    def forward(self, inputs):
        return self.weights.expand(len(inputs), -1)


def half_square(outputs, targets):
    """w' A_n w / 2 for each sample, whose target is its matrix A_n."""
    return torch.einsum("ni,nij,nj->n", outputs, targets, outputs) / 2


def quadratic(matrices, weights, batch_size=16):
    """f(w) = mean of w' A_n w / 2: Hessian mean A_n. Matrices are N x n x n."""
    targets = torch.as_tensor(np.asarray(matrices), dtype=torch.float64)
    return Problem(Weights(weights), half_square, Samples(torch.zeros(len(targets), 1), targets, batch_size))


def matrix_with(eigenvalues, seed):
    """A symmetric matrix with those eigenvalues and random eigenvectors."""
    basis = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(eigenvalues), len(eigenvalues))))[0]
    return basis * np.asarray(eigenvalues) @ basis.T


class Attention(nn.Module):
    """Tokens to a class for each token, through one layer of fused attention."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.qkv = nn.Linear(4, 12)
        self.head = nn.Linear(4, 3)

    def forward(self, tokens):
        query, key, value = self.qkv(self.embedding(tokens)).chunk(3, dim=-1)
        return self.head(nn.functional.scaled_dot_product_attention(query, key, value))


def small_problem(kind, samples=23, batch_size=7, seed=0):
    """Problems small enough for dense matrices, in float64: tanh, squares, convolution (with BatchNorm),
    attention.
    """
    torch.manual_seed(seed)
    inputs, targets = torch.randn(samples, 5).double(), torch.randint(3, (samples,))
    network, loss = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)), cross_entropy
    if kind == "squares":
        targets, loss = torch.randn(samples, 3).double(), mean_squared_error
    elif kind == "convolution":
        inputs = torch.randn(samples, 1, 4, 4).double()
        network = nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Sigmoid(), nn.Flatten(), nn.Linear(12, 3)
        )
        network(torch.randn(50, 1, 4, 4))  # statistics that are not 0 and 1
    elif kind == "attention":
        inputs, targets, network = torch.randint(5, (samples, 6)), torch.randint(3, (samples, 6)), Attention()
    return Problem(network.double().eval(), loss, Samples(inputs, targets, batch_size))


def _flat_loss(problem, network, inputs, targets):
    shapes = {name: parameter.shape for name, parameter in network.named_parameters()}

    def loss(flat):
        parts = flat.split([shape.numel() for shape in shapes.values()])
        moved = {name: part.reshape(shape) for part, (name, shape) in zip(parts, shapes.items(), strict=True)}
        with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
            outputs = torch.func.functional_call(network, moved, (inputs,))
        return outputs, problem.loss(outputs, targets)

    return loss


def _prepared(problem):
    network = copy.deepcopy(problem.network).double().eval()
    return network, torch.cat([parameter.detach().reshape(-1) for parameter in network.parameters()])


def dense_hessian(problem):
    """Forward over reverse, all samples at once, all columns."""
    network, flat = _prepared(problem)
    loss = _flat_loss(problem, network, problem.samples.inputs, problem.samples.targets)
    return torch.func.jacrev(torch.func.jacrev(lambda w: loss(w)[1].mean()))(flat).numpy()


def dense_gauss_newton(problem):
    """Sum over samples of J' H J / N with the Jacobian and the loss's Hessian of each sample written out."""
    network, flat = _prepared(problem)
    total = torch.zeros(len(flat), len(flat), dtype=torch.float64)
    for inputs, targets in zip(problem.samples.inputs, problem.samples.targets, strict=True):
        outputs = _flat_loss(problem, network, inputs[None], targets[None])
        jacobian = torch.func.jacrev(lambda w, outputs=outputs: outputs(w)[0].flatten())(flat)
        at = outputs(flat)[0].detach()
        inner = torch.func.jacrev(
            torch.func.jacrev(
                lambda z, at=at, targets=targets: problem.loss(z.reshape(at.shape), targets[None])[0]
            )
        )(at.flatten())
        total += jacobian.T @ inner @ jacobian
    return (total / len(problem.samples)).numpy()


def dense_fisher(problem):
    """Mean over samples of the sum over ALL labelings of probability times g g', g the derivative of ln
    probability; over T targets.
    """
    network, flat = _prepared(problem)
    total = torch.zeros(len(flat), len(flat), dtype=torch.float64)
    for inputs, targets in zip(problem.samples.inputs, problem.samples.targets, strict=True):
        classes = _flat_loss(problem, network, inputs[None], targets[None])(flat)[0].shape[-1]
        for labels in itertools.product(range(classes), repeat=targets.numel()):
            label = torch.tensor(labels).reshape(targets.shape)
            loss = _flat_loss(problem, network, inputs[None], label[None])
            score = -targets.numel() * torch.func.grad(lambda w, loss=loss: loss(w)[1][0])(flat)
            probability = torch.exp(-targets.numel() * loss(flat)[1][0])
            total += probability * torch.outer(score, score) / targets.numel()
    return (total / len(problem.samples)).numpy()


def dense_empirical_fisher(problem):
    """Mean of g g' with the derivative of every sample's loss taken on its own."""
    network, flat = _prepared(problem)
    slopes = []
    for inputs, targets in zip(problem.samples.inputs, problem.samples.targets, strict=True):
        loss = _flat_loss(problem, network, inputs[None], targets[None])
        slopes.append(torch.func.grad(lambda w, loss=loss: loss(w)[1][0])(flat))
    return (torch.stack(slopes).T @ torch.stack(slopes) / len(slopes)).numpy()


def softmax_regression_hessian(weights, bias, inputs):
    """mean of (diag p - p p') kron x x', p = softmax(W x + b), in the order W row by row, then b: x is (x,
    1), rearranged.
    """
    classes, features = weights.shape
    total = np.zeros((classes * (features + 1),) * 2)
    for x in inputs:
        logits = weights @ x + bias
        p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        total += np.kron(np.diag(p) - np.outer(p, p), np.outer([*x, 1.0], [*x, 1.0]))
    order = [c * (features + 1) + j for c in range(classes) for j in range(features)] + [
        c * (features + 1) + features for c in range(classes)
    ]
    return total[np.ix_(order, order)] / len(inputs)
