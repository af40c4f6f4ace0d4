"""Whether a network that lossmap did not make computes with the weights that a survey moves."""

import torch
from torch import Tensor

from lossmap.components.core.errors import ExperimentError, LossmapError
from lossmap.components.landscape.evaluator import Directions, Evaluator, tensors
from lossmap.components.landscape.forward import losses_of
from lossmap.components.landscape.objective import Samples, group_means
from lossmap.components.landscape.outputs import are_close
from lossmap.components.landscape.precision import described, narrow_types, types
from lossmap.components.surveys.problems import Problems

_SAMPLES = 4
_POINT = (0.5, -0.25)


def check_plane(problems: Problems, directions: Directions, samples: int) -> None:
    """Compare the losses of a few samples at a point of the plane, where weights are moved in place, with
    those of a network that is built anew and gets the moved weights before its first call.

    Raises:
        ExperimentError: they differ, or the network fails there.
    """
    problem = problems.problem(min(_SAMPLES, samples))
    try:
        evaluate = Evaluator(problem, directions, "frozen")
        evaluate(0.0, 0.0)
        moved = torch.tensor(evaluate(*_POINT).group_losses)
        expected = _built_anew(problems, problem.samples, directions)
    except LossmapError as error:
        raise _failure(problems, error) from None
    if not are_close(moved.to(expected), expected, torch.finfo(torch.float32).eps ** 0.5):
        raise ExperimentError(
            f"the network {type(problem.network).__name__} does not follow its weights: moved along the plane"
            f" it has the loss {float(moved.mean()):.6g}, built anew with these weights"
            f" {float(expected.mean()):.6g}; expected a forward pass that keeps nothing that it computed from"
            " the weights"
        )


def _built_anew(problems: Problems, samples: Samples, directions: Directions) -> Tensor:
    network = problems.network().eval().to(samples.inputs.device)
    (a, b), (x, y) = _POINT, directions
    with torch.no_grad():
        for name, tensor in tensors(network).items():
            if name in x:
                tensor.copy_(tensor + a * x[name].to(tensor) + b * y[name].to(tensor))
    losses, _ = losses_of(network, problems.loss, samples)
    return group_means(losses.values, samples.groups())


def _failure(problems: Problems, error: LossmapError) -> LossmapError:
    """That error, or what is behind it where weights of few bits are moved in more."""
    narrow = " and ".join(narrow_types(problems.state))
    if not narrow:
        return error
    return ExperimentError(
        f"the network {type(problems.network()).__name__} has weights in {described(types(problems.state))};"
        f" those in {narrow} are moved in float32, with which {error}; expected a network without casts to"
        f" {narrow} in its forward pass, for example network.float()"
    )
