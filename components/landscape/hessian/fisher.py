"""Fisher matrices: exact, from drawn labels, and from the samples' own."""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.randomness import stream
from lossmap.components.landscape.hessian.operators import OutputCurvature, derivative
from lossmap.components.landscape.objective import Problem, cross_entropy, mean_squared_error
from lossmap.components.landscape.parameters import distributed


def has_labels(problem: Problem) -> bool:
    """Whether the loss is minus the logarithm of a probability of labels, over the number of targets:
    cross-entropy or mean squared error.
    """
    return problem.loss in (cross_entropy, mean_squared_error)


class Fisher(OutputCurvature):
    """The Fisher matrix: the mean over inputs of E[g g'], g the derivative of ln p(t | x), over labels t that
    the model itself draws.

    M = diag p - p p' for cross-entropy, p the softmax of the outputs; M = 2 for squares, whose model is
    Gaussian of variance 1/2. Both are the Hessian of the loss to the outputs, which does not depend on t: the
    Fisher matrix equals the Gauss-Newton matrix (Martens 2020, section 9). Divided by the T targets of a
    sample, as the loss is, a mean over them.

    Raises:
        ExperimentError: the loss is neither cross-entropy nor mean squared error, and so no probability of
            labels.
    """

    def _weighted(self, outputs: Tensor, index: Tensor, targets: Tensor, tangent: Tensor) -> Tensor:
        if _is_gaussian(self.parameters.problem):
            return 2 * tangent / outputs[0].numel()
        dim = _class_dimension(outputs, targets)
        probability = outputs.double().softmax(dim)
        return probability * (tangent - (probability * tangent).sum(dim, keepdim=True)) / targets[0].numel()


class SampledFisher(OutputCurvature):
    """The Monte-Carlo Fisher matrix: labels are drawn from the model instead of summed over. Unbiased for
    Fisher.

    Args:
        problem: as in CurvatureMatrix; so are names, weights and watch.
        draws: labels for each sample.
        seed: of the labels, which are the same in every product and for every batch size.

    Raises:
        ExperimentError: as in Fisher.
    """

    def __init__(
        self,
        problem: Problem,
        draws: int,
        seed: int,
        names: Sequence[str] | None = None,
        weights: Mapping[str, Tensor] | None = None,
        watch: Callable[[int], None] = lambda vectors: None,
    ):
        super().__init__(problem, names, weights, watch)
        shape = (len(problem.samples), draws, *problem.samples.targets.shape[1:])
        rank = dist.get_rank() if distributed() else 0
        random = stream("fisher", seed, rank)
        self._random = torch.from_numpy(
            random.standard_normal(shape) if _is_gaussian(problem) else random.random(shape)
        )

    def _weighted(self, outputs: Tensor, index: Tensor, targets: Tensor, tangent: Tensor) -> Tensor:
        random = self._random[index].to(outputs.device)
        labels = [self._labels(outputs, targets, random[:, draw]) for draw in range(random.shape[1])]
        return torch.stack(
            [_squared_score(self.parameters.problem, outputs, label, tangent) for label in labels]
        ).mean(dim=0)

    def _labels(self, outputs: Tensor, targets: Tensor, random: Tensor) -> Tensor:
        if _is_gaussian(self.parameters.problem):
            drawn: Tensor = outputs.double() + random.reshape(outputs.shape) * 0.5**0.5
            return drawn
        dim = _class_dimension(outputs, targets)
        cumulative = outputs.double().softmax(dim).cumsum(dim).movedim(dim, -1)
        labels: Tensor = (cumulative[..., :-1] <= random[..., None]).sum(dim=-1)
        return labels


class EmpiricalFisher(OutputCurvature):
    """The mean over samples of g g', g the derivative of a sample's own loss, for any loss. It is not the
    Fisher matrix (Kunstner et al. 2019).

    Times T for a sample of T targets, over which the loss is a mean, so that it stays comparable with the
    other matrices.
    """

    def _weighted(self, outputs: Tensor, index: Tensor, targets: Tensor, tangent: Tensor) -> Tensor:
        return _squared_score(self.parameters.problem, outputs, targets, tangent)


def _squared_score(problem: Problem, outputs: Tensor, targets: Tensor, tangent: Tensor) -> Tensor:
    """T s (s . tangent) for each sample, s the derivative of its loss to its outputs."""
    at = outputs.detach().requires_grad_()
    (score,) = derivative([problem.loss(at, targets).sum()], [at])
    along = (score * tangent).flatten(1).sum(dim=1).reshape(-1, *[1] * (score.dim() - 1))
    return _targets_per_sample(problem, outputs, targets) * score * along


def _targets_per_sample(problem: Problem, outputs: Tensor, targets: Tensor) -> int:
    if problem.loss is mean_squared_error:
        return outputs[0].numel()
    return targets[0].numel() if problem.loss is cross_entropy else 1


def _is_gaussian(problem: Problem) -> bool:
    if not has_labels(problem):
        name = getattr(problem.loss, "__name__", repr(problem.loss))
        raise ExperimentError(
            f"the loss {name} gives no probability of labels, expected cross-entropy or mse for a Fisher"
            " matrix"
        )
    return problem.loss is mean_squared_error


def _class_dimension(outputs: Tensor, targets: Tensor) -> int:
    return -1 if outputs.dim() > 2 and outputs.shape[:-1] == targets.shape else 1
