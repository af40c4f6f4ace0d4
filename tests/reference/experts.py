"""Slow, obvious second implementations of the layer of experts: every expert computes every input, one
input at a time.
"""

import copy
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from scipy.stats import norm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lossmap.components.config.models import Experts
from lossmap.components.models.balance import take_balance
from lossmap.components.models.experts import ExpertLayer


def dense(layer, inputs, draws=None):
    """Outputs (T, width) and gates (T, n) of eqs 1-5 with the given standard normal draws (T, n), without
    them those of evaluation.
    """
    outputs, gates = [], []
    for t, x in enumerate(inputs):
        scores = layer.gate.weight @ x
        if draws is not None:
            scores = scores + draws[t] * torch.log1p(torch.exp(layer.noise.weight @ x))
        values = scores.tolist()
        kept = sorted(range(len(values)), key=lambda i: -values[i])[: layer.settings.active]
        total = sum(torch.exp(scores[i]) for i in kept)
        gate = [torch.exp(scores[i]) / total if i in kept else 0 * scores[i] for i in range(len(scores))]
        outputs.append(sum(gate[i] * expert(x) for i, expert in enumerate(layer.experts)))
        gates.append(torch.stack(gate))
    return torch.stack(outputs), torch.stack(gates)


def load(clean, noisy, deviation, active):
    """Eqs 8-10, where "the k-th highest excluding i" is read literally."""
    loads = np.zeros(clean.shape[1])
    for t in range(len(clean)):
        for i in range(clean.shape[1]):
            others = sorted(np.delete(noisy[t], i), reverse=True)
            loads[i] += norm.cdf((clean[t, i] - others[active - 1]) / deviation[t, i])
    return loads


def squared_variation(values):
    """CV^2 with the variance of a population."""
    return float(np.var(values) / np.mean(values) ** 2)


def small_network(spread, active, capacity):
    """Two layers of three experts in float64, whose gates prefer some inputs for expert 0, which is rank
    0's.
    """
    torch.manual_seed(1)
    experts = Experts(count=3, active=active, hidden=5, capacity=capacity, spread_over_ranks=spread)
    network = nn.Sequential(
        nn.Linear(4, 6), ExpertLayer(6, experts), nn.ReLU(), ExpertLayer(6, experts), nn.Linear(6, 2)
    ).double()
    nn.init.normal_(network[1].gate.weight)
    network[3].gate.weight.data[0] = 30.0
    return network


def share(rank):
    """Inputs and labels of a rank; the second has fewer."""
    generator = torch.Generator().manual_seed(rank)
    count = 7 - 3 * rank
    return torch.randn(count, 4, dtype=torch.float64, generator=generator), torch.randint(
        2, (count,), generator=generator
    )


def gradients_by_hand(active, capacity, steps):
    """Gradients of every step: those of two copies, each on a share of its own, averaged."""
    network, results = small_network(False, active, capacity), []
    for step in range(steps):
        copies = [copy.deepcopy(network) for _ in range(2)]
        for rank, replica in enumerate(copies):
            _backward(replica, replica, rank, step)
        mean = [
            sum(_gradient(parameter) for parameter in pair) / 2
            for pair in zip(*(replica.parameters() for replica in copies), strict=True)
        ]
        results.append(mean)
        _descend(network, mean)
    return results


def rank_main(rank, folder, cases, steps):
    """One of two processes that train in parallel; they write their gradients of every step, by case
    (spread, active, capacity).
    """
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=120),
    )
    found = {}
    for case in cases:
        network = small_network(*case)
        parallel = DistributedDataParallel(network, find_unused_parameters=True, bucket_cap_mb=1e-4)
        found[case] = []
        for step in range(steps):
            network.zero_grad()
            _backward(parallel, network, rank, step)
            found[case].append([_gradient(parameter).clone() for parameter in network.parameters()])
            _descend(network, found[case][-1])
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def _backward(called, network, rank, step):
    inputs, labels = share(rank)
    torch.manual_seed(1000 * step + rank)
    loss = F.cross_entropy(called(inputs), labels)
    (loss + take_balance(network).loss).backward()


def _gradient(parameter):
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _descend(network, gradients):
    with torch.no_grad():
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            parameter.sub_(0.05 * gradient)
