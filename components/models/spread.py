"""Experts that are spread over data-parallel processes: each process computes its own experts, for the inputs
of all (Shazeer et al. 2017, section 3.1).

Expert e belongs to process e modulo the number of processes. Every process keeps all weights, so that
checkpoints and the averaging of gradients stay as they are: the owner's gradient is the sum over all
processes, the others' is zero, and DistributedDataParallel divides by their number, which gives the mean of
the processes' gradients as if each had computed its own inputs.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def spreads() -> bool:
    """Whether there are other processes."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def on_owners(experts: Iterable[nn.Module], rows: Tensor, counts: list[int]) -> Tensor:
    """Every expert's outputs on its rows, of every process. All processes have to call it at the same time,
    also those without rows.

    Args:
        experts: all of them.
        rows: this process's inputs, grouped by expert, (sum of counts, width).
        counts: rows of each expert.

    Returns:
        The outputs on this process's rows, in their order.
    """
    modules, rank, world = list(experts), dist.get_rank(), dist.get_world_size()
    everyone = _gathered(torch.tensor(counts, device=rows.device), world)
    mine = range(rank, len(modules), world)
    by_owner = [expert for owner in range(world) for expert in range(owner, len(modules), world)]
    sent = [sum(counts[owner::world]) for owner in range(world)]
    received = [sum(theirs[rank::world]) for theirs in everyone]
    parts = rows.split(counts)
    arrived = _Exchange.apply(torch.cat([parts[expert] for expert in by_owner]), sent, received)
    computed = _compute(modules, arrived, [[theirs[expert] for expert in mine] for theirs in everyone], mine)
    returned = _Exchange.apply(computed, received, sent).split([counts[expert] for expert in by_owner])
    places = {expert: place for place, expert in enumerate(by_owner)}
    return torch.cat([returned[places[expert]] for expert in range(len(modules))])


def _compute(modules: list[nn.Module], arrived: Tensor, sizes: list[list[int]], mine: range) -> Tensor:
    """Outputs on rows that are grouped by process and then by this one's experts, in their order;
    sizes[process][i] of them are for mine[i].
    """
    processes = [
        rows.split(theirs)
        for rows, theirs in zip(arrived.split([sum(theirs) for theirs in sizes]), sizes, strict=True)
    ]
    results = []
    for i, expert in enumerate(mine):
        outputs = modules[expert](torch.cat([pieces[i] for pieces in processes]))
        results.append(outputs.split([theirs[i] for theirs in sizes]))
    # The other experts get no rows, yet a place in the graph: gradients are then ready in the same order in
    # every process, and their averaging never meets the exchange in another order, which would be a deadlock.
    idle = [module(arrived[:0]) for expert, module in enumerate(modules) if expert not in mine]
    return torch.cat([*(pieces[process] for process in range(len(sizes)) for pieces in results), *idle])


def _gathered(own: Tensor, world: int) -> list[list[int]]:
    everyone = [torch.empty_like(own) for _ in range(world)]
    dist.all_gather(everyone, own)
    return [theirs.tolist() for theirs in everyone]


class _Exchange(torch.autograd.Function):
    """Sends sent[p] rows to each process p and receives received[p] from it; the gradient travels the
    other way.
    """

    @staticmethod
    def forward(context: Any, rows: Tensor, sent: list[int], received: list[int]) -> Tensor:
        context.sent, context.received = sent, received
        arrived = rows.new_empty(sum(received), *rows.shape[1:])
        dist.all_to_all_single(arrived, rows.contiguous(), received, sent)
        return arrived

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Any, ...]:
        return _Exchange.apply(gradients[0], context.received, context.sent), None, None
