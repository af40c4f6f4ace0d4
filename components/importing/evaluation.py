"""The loss of a network on whole splits of any data, in one process; what does not fit together is told in
one line.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from lossmap.components.config.manifest import Manifest
from lossmap.components.core.errors import ExperimentError
from lossmap.components.core.imports import reason
from lossmap.components.core.progress import Progress, silent
from lossmap.components.data.batches import as_inputs
from lossmap.components.landscape.forward import without_gradients
from lossmap.components.landscape.objective import Loss, like_parameters, wrong

_BATCH = 256  # samples at most, and fewer where one sample's inputs or outputs are many numbers:
_BATCH_NUMBERS = 2**24
T = TypeVar("T")


class Evaluation:
    """Mean loss and share of wrong answers, computed on a GPU where there is one.

    Args:
        network: in evaluation mode.
        loss: one value for each sample.
        manifest: of the packed data set.
        progress: called with (samples done, samples, "").
    """

    def __init__(self, network: nn.Module, loss: Loss, manifest: Manifest, progress: Progress = silent):
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self._network, self._loss = network.to(self.device), loss
        self._manifest, self._progress = manifest, progress
        self._done = 0

    def of(self, inputs: Tensor, targets: Tensor) -> dict[str, float | None]:
        """Loss, error and count of a split as it was packed; the error is None where targets are no classes.

        Raises:
            ExperimentError: network, loss and data do not fit together.
        """
        size = self._batch_size(inputs, targets)
        losses, missed = zip(
            *(self._batch(*batch) for batch in zip(inputs.split(size), targets.split(size), strict=True)),
            strict=True,
        )
        known = [part for part in missed if part is not None]
        error = float(torch.cat(known).mean()) if known else None
        return {"loss": float(torch.cat(losses).mean()), "error": error, "count": len(targets)}

    def _batch_size(self, inputs: Tensor, targets: Tensor) -> int:
        """After a try with one sample."""
        outputs = self._outputs(inputs[:1])
        self._losses(outputs, targets[:1])
        return max(1, min(_BATCH, _BATCH_NUMBERS // max(outputs.numel(), inputs[0].numel(), 1)))

    def _batch(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        losses, missed = self._losses(self._outputs(inputs), targets)
        self._done += len(targets)
        self._progress(self._done, self._manifest.count("train") + self._manifest.count("test"), "")
        return losses.cpu(), None if missed is None else missed.cpu()

    def _outputs(self, packed: Tensor) -> Tensor:
        name = type(self._network).__name__
        inputs = like_parameters(as_inputs(packed.to(self.device), self._manifest), self._network)
        outputs = _explained(
            f"the network {name} fails on inputs of {_described(inputs)}",
            # a copy: a network may change its inputs in place, and these are kept
            lambda: without_gradients(self._network, lambda: self._network(inputs.clone())),
        )
        if not isinstance(outputs, Tensor):
            raise ExperimentError(
                f"the network {name} returns {type(outputs).__name__}, expected one tensor; let the factory"
                " wrap it"
            )
        return outputs.detach()

    def _losses(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        targets = targets.to(self.device)
        what = f"the loss fails on outputs of {_described(outputs)} and targets of {_described(targets)}"
        return _explained(what, lambda: (self._loss(outputs, targets), wrong(outputs, targets)))


def _described(tensor: Tensor) -> str:
    return f"the shape {tuple(tensor.shape)}, {str(tensor.dtype).removeprefix('torch.')}"


def _explained(what: str, compute: Callable[[], T]) -> T:
    try:
        return compute()
    except ExperimentError:
        raise
    except Exception as error:  # whatever the user's network or loss does
        raise ExperimentError(f"{what}: {reason(error)}") from None
