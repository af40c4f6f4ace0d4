"""The empirical Fisher matrix, and for which losses the Fisher matrix is the Gauss-Newton matrix."""

from torch import Tensor

from lossmap.components.landscape.hessian.operators import OutputCurvature, derivative
from lossmap.components.landscape.losses.loss import Loss
from lossmap.components.landscape.objective import Problem


def has_labels(problem: Problem) -> bool:
    """Whether the loss is minus the logarithm of a probability of labels, over the number of targets:
    cross-entropy whose classes weigh alike, or mean squared error, whose model is Gaussian of variance 1/2.
    Where classes have weights there are no labels of which the loss is the probability.

    The Fisher matrix, the mean over inputs of E[g g'] over labels t that the model itself draws, g the
    derivative of ln p(t | x), then equals the Gauss-Newton matrix: the loss's second derivatives to the
    outputs do not depend on t (Martens 2020, section 9).
    """
    return isinstance(problem.loss, Loss) and problem.loss.is_likelihood(problem.samples.targets)


class EmpiricalFisher(OutputCurvature):
    """The mean over samples of g g', g the derivative of what a sample adds to the mean loss, for any loss.
    It is not the Fisher matrix (Kunstner et al. 2019).

    Times the mean number T of a sample's targets, ignored ones aside, over which the loss is a mean, so that
    it stays comparable with the other matrices: it is the sum over samples of g g' / sum over samples of T, g
    the derivative of a sample's log-likelihood.
    """

    def _weighted(self, outputs: Tensor, targets: Tensor, tangent: Tensor) -> Tensor:
        """T s (s . tangent) for each sample, s the derivative of its loss to its outputs."""
        at, problem = outputs.detach().requires_grad_(), self.parameters.problem
        (score,) = derivative([problem.total(at, targets)], [at])
        along = (score * tangent).flatten(1).sum(dim=1).reshape(-1, *[1] * (score.dim() - 1))
        return _targets_per_sample(problem, outputs) * score * along


def _targets_per_sample(problem: Problem, outputs: Tensor) -> float:
    loss = problem.loss
    return loss.targets_per_sample(outputs, problem.samples.targets) if isinstance(loss, Loss) else 1.0
