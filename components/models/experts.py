"""The sparsely-gated layer of experts of Shazeer et al. 2017 (arXiv 1701.06538).

    y = sum_i G(x)_i E_i(x)
    G(x) = softmax(keep_top_k(H(x), k))
    H(x)_i = (x W_g)_i + z_i softplus((x W_noise)_i),   z_i ~ N(0, 1)

An expert computes only the inputs that are sent to it. W_g and W_noise start at zero (appendix A), so that at
first the noise alone chooses; without noise that would send every input to the same experts, and W_g starts
as torch's linear layers do.

In evaluation mode there is no noise and no capacity: an input's output depends on nothing but the input. It
is smooth in the weights only as long as every input keeps its experts. Where the choice flips, two experts of
equal gate change places and the output JUMPS (section 2.1 of the paper); the gradient and the Hessian are
those of the smooth piece that one stands on, and W_noise has none.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lossmap.components.config.models import Experts
from lossmap.components.models.spread import on_owners, spreads

_LEAST_DEVIATION = 1e-6  # where softplus underflows to zero, the load would be 0 / 0


@dataclass(frozen=True)
class Balance:
    """How evenly a batch used the experts.

    Attributes:
        loss: w_importance CV(importance)^2 + w_load CV(load)^2, with its gradient.
        routing: CV(importance), CV(load), greatest load / mean load, share of the assignments that were
            dropped; float64 (4,). Here an expert's load is the number of inputs that the gates sent to it,
            before any are dropped.
    """

    loss: Tensor
    routing: Tensor


class ExpertLayer(nn.Module):
    """Numbers in the last dimension, (…, width), to numbers of the same shape. The experts are
    linear-ReLU-linear.

    Attributes:
        passes: what every forward pass in training mode left, until somebody takes it (balance.take_balance).
            A copy of the layer has none.
    """

    def __init__(self, width: int, experts: Experts):
        super().__init__()
        self.settings = experts
        self.gate = nn.Linear(width, experts.count, bias=False)
        self.noise = nn.Linear(width, experts.count, bias=False) if experts.noisy else None
        self.experts = nn.ModuleList(_expert(width, experts.hidden) for _ in range(experts.count))
        if self.noise is not None:
            nn.init.zeros_(self.gate.weight)
            nn.init.zeros_(self.noise.weight)
        self.passes: list[Balance] = []

    def forward(self, x: Tensor) -> Tensor:
        """The sum of the k chosen experts' outputs, weighted by their gates: (…, width) to (…, width)."""
        inputs = x.reshape(-1, x.shape[-1])
        gates, chosen, loss = self._gates(inputs)
        order, counts = _by_expert(chosen, self.settings.count)
        kept = self._within_capacity(counts, len(inputs))
        if loss is not None:
            self.passes.append(
                Balance(loss, _routing(_importance(gates, chosen, self.settings.count), counts, kept))
            )
        order = torch.cat([part[:count] for part, count in zip(order.split(counts), kept, strict=True)])
        outputs = self._compute(inputs.index_select(0, order // self.settings.active), kept)
        weighted = outputs * gates.reshape(-1, 1).index_select(0, order)
        sums = weighted.new_zeros(inputs.shape).index_add(0, order // self.settings.active, weighted)
        return sums.to(x.dtype).reshape(x.shape)

    def _gates(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Gates and numbers of each input's experts, (T, k) both, and while training the balance loss; in
        the weights' precision also under autocast.
        """
        with torch.autocast(inputs.device.type, enabled=False):
            inputs = inputs.to(self.gate.weight.dtype)
            clean = noisy = self.gate(inputs)
            deviation = self._deviation(inputs)
            if deviation is not None:
                noisy = clean + torch.randn_like(clean) * deviation
            highest, chosen = noisy.topk(self.settings.active, dim=1)
            gates = highest.softmax(dim=1)
            loss = None
            if self.training:
                importance = _importance(gates, chosen, self.settings.count)
                loss = self._balance(importance, clean, noisy, deviation)
        return gates, chosen, loss

    def _deviation(self, inputs: Tensor) -> Tensor | None:
        if self.noise is None or not self.training:
            return None
        return F.softplus(self.noise(inputs)).clamp(min=_LEAST_DEVIATION)

    def _balance(self, importance: Tensor, clean: Tensor, noisy: Tensor, deviation: Tensor | None) -> Tensor:
        loss = self.settings.importance_weight * squared_variation(importance)
        if deviation is not None and self.settings.load_weight:
            loss = loss + self.settings.load_weight * squared_variation(
                load_estimate(clean, noisy, deviation, self.settings.active)
            )
        return loss

    def _within_capacity(self, counts: list[int], inputs: int) -> list[int]:
        """How many of its inputs each expert keeps: the first ceil(capacity k T / n), while training."""
        settings = self.settings
        if settings.capacity is None or not self.training:
            return counts
        # 1.1 * 10 is above 11
        limit = math.ceil(round(settings.capacity * settings.active * inputs / settings.count, 9))
        return [min(count, limit) for count in counts]

    def _compute(self, rows: Tensor, counts: list[int]) -> Tensor:
        """Every expert's outputs on its rows; the first counts[0] rows are those of expert 0, and so on."""
        if self.training and self.settings.spread_over_ranks and spreads():
            return on_owners(self.experts, rows, counts)
        return torch.cat(
            [expert(part) for expert, part in zip(self.experts, rows.split(counts), strict=True)]
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "passes": []}  # torch copies no tensor that was computed from others


def squared_variation(values: Tensor) -> Tensor:
    """CV(v)^2 = variance / mean^2 of numbers >= 0 with mean m: (1/n) sum of (v_i - m)^2 / m^2, from 0 (all
    equal) to n - 1 (all but one are zero).

    The variance is that of a population, divided by n. All zeros give 0.
    """
    mean = values.mean()
    return (values - mean).square().mean() / mean.square().clamp(min=torch.finfo(values.dtype).tiny)


def load_estimate(clean: Tensor, noisy: Tensor, deviation: Tensor, active: int) -> Tensor:
    """Load(X)_i = sum over x of P(x, i), a smooth estimate of how many inputs expert i gets (appendix A, eqs
    8-10): (n,).

    P(x, i) = Phi(((x W_g)_i - the k-th highest of all H(x)_j but H(x)_i) / softplus((x W_noise)_i)): the
    probability that i is among the k highest if its own noise is drawn again and the others' is not.

    Args:
        clean: x W_g, (T, n).
        noisy: H(x), (T, n).
        deviation: softplus(x W_noise), (T, n).
        active: k < n.
    """
    highest = noisy.topk(active + 1, dim=1).values
    if_in, if_out = highest[:, active:], highest[:, active - 1 : active]
    # Whoever is in keeps its place above the next one; whoever is out has to overtake the last one.
    others = torch.where(noisy > if_in, if_in, if_out)
    probability: Tensor = torch.special.ndtr((clean - others) / deviation)
    return probability.sum(dim=0)


def _expert(width: int, hidden: int) -> nn.Module:
    first, second = nn.Linear(width, hidden), nn.Linear(hidden, width)
    nn.init.kaiming_normal_(first.weight, nonlinearity="relu")
    nn.init.kaiming_normal_(second.weight, nonlinearity="linear")
    for layer in (first, second):
        nn.init.zeros_(layer.bias)
    return nn.Sequential(first, nn.ReLU(), second)


def _by_expert(chosen: Tensor, count: int) -> tuple[Tensor, list[int]]:
    """The assignments (T k), numbered along the inputs, in the order of their experts and then of the
    inputs; and how many each expert has.
    """
    flat = chosen.reshape(-1)
    return flat.argsort(stable=True), torch.bincount(flat, minlength=count).tolist()


def _importance(gates: Tensor, chosen: Tensor, count: int) -> Tensor:
    """The sum of each expert's gates over the batch (section 4, eq. 6): (n,)."""
    return (
        torch.zeros(len(gates), count, dtype=gates.dtype, device=gates.device)
        .scatter(1, chosen, gates)
        .sum(dim=0)
    )


def _routing(importance: Tensor, counts: list[int], kept: list[int]) -> Tensor:
    load = torch.tensor(counts, dtype=torch.float64, device=importance.device)
    dropped = torch.full_like(load[0], 1 - sum(kept) / max(1, sum(counts)))
    variations = [squared_variation(values).sqrt() for values in (importance.detach().double(), load)]
    return torch.stack([*variations, load.max() / load.mean(), dropped])
