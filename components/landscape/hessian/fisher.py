"""The empirical Fisher matrix, and for which losses the Fisher matrix is the Gauss-Newton matrix."""

from torch import Tensor

from lossmap.components.landscape.hessian.operators import OutputCurvature, derivative
from lossmap.components.landscape.objective import Problem, cross_entropy, mean_squared_error


def has_labels(problem: Problem) -> bool:
    """Whether the loss is minus the logarithm of a probability of labels, over the number of targets:
    cross-entropy, or mean squared error, whose model is Gaussian of variance 1/2.

    The Fisher matrix, the mean over inputs of E[g g'] over labels t that the model itself draws, g the
    derivative of ln p(t | x), then equals the Gauss-Newton matrix: the loss's second derivatives to the
    outputs do not depend on t (Martens 2020, section 9).
    """
    return problem.loss in (cross_entropy, mean_squared_error)


class EmpiricalFisher(OutputCurvature):
    """The mean over samples of g g', g the derivative of a sample's own loss, for any loss. It is not the
    Fisher matrix (Kunstner et al. 2019).

    Times T for a sample of T targets, over which the loss is a mean, so that it stays comparable with the
    other matrices.
    """

    def _weighted(self, outputs: Tensor, targets: Tensor, tangent: Tensor) -> Tensor:
        """T s (s . tangent) for each sample, s the derivative of its loss to its outputs."""
        at, problem = outputs.detach().requires_grad_(), self.parameters.problem
        (score,) = derivative([problem.loss(at, targets).sum()], [at])
        along = (score * tangent).flatten(1).sum(dim=1).reshape(-1, *[1] * (score.dim() - 1))
        return _targets_per_sample(problem, outputs, targets) * score * along


def _targets_per_sample(problem: Problem, outputs: Tensor, targets: Tensor) -> int:
    if problem.loss is mean_squared_error:
        return outputs[0].numel()
    return targets[0].numel() if problem.loss is cross_entropy else 1
