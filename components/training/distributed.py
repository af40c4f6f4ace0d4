"""The group of data-parallel processes that torchrun started: who am I, what do we agree on."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lossmap.components.core.errors import TrainingError
from lossmap.components.core.gpus import why_no_gpu

_INTERFACE = "GLOO_SOCKET_IFNAME"
# gloo raises plain RuntimeErrors.
_LOSSES = (
    "gloo",
    "Connection closed by peer",
    "Connection reset",
    "Broken pipe",
    "Timed out waiting",
    "Socket Timeout",
)


@dataclass(frozen=True)
class Group:
    """This process's place among all: rank 0 … world - 1, and the device it computes on."""

    rank: int
    world: int
    device: torch.device

    def total(self, values: Tensor) -> Tensor:
        """Elementwise sum over all processes, on every process."""
        dist.all_reduce(values)
        return values

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether it is up on any process. It waits for every process, and not for a GPU."""
        raised = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(raised, op=dist.ReduceOp.MAX)
        return tuple(bool(flag) for flag in raised)

    def share_buffers(self, network: nn.Module) -> None:
        """Give every process rank 0's buffers: DistributedDataParallel does so only at the start of a
        forward pass.
        """
        for buffer in network.buffers():
            dist.broadcast(buffer, src=0)


@contextmanager
def process_group(device: str) -> Iterator[Group]:
    """Join the group described by torchrun's environment; leave it at the end.

    Args:
        device: cpu, cuda, or auto for cuda where there is one for every local process.
    """
    rank, world, local_rank = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    place = _device(device, local_rank)
    _check_interface()
    if place.type == "cuda":
        torch.cuda.set_device(place)
    # Flags and sums travel over gloo also where gradients travel over NCCL.
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo", timeout=timedelta(minutes=10)
    )
    try:
        yield Group(rank, world, place)
    finally:
        dist.destroy_process_group()


def is_loss_of_peer(error: Exception) -> bool:
    """Whether an error of a collective means that another process or the network is gone, and nothing is
    wrong with this one.
    """
    if isinstance(error, dist.DistNetworkError | dist.DistBackendError | dist.DistStoreError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _LOSSES)


def _check_interface() -> None:
    """Refuse a network interface that this machine does not have: gloo's own error names no variable."""
    asked, own = os.environ.get(_INTERFACE, ""), [name for _, name in socket.if_nameindex()]
    if asked and not set(asked.split(",")) <= set(own):
        raise TrainingError(
            f"{_INTERFACE} is {asked}, expected a network interface of this machine ({', '.join(own)}); unset"
            " it, or name one of them"
        )


def _device(device: str, local_rank: int) -> torch.device:
    local_world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    promised = os.environ.get("LOSSMAP_GPUS")  # by the pod that this process is in
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "cuda" and available < local_world:
        raise TrainingError(
            f"training.device is cuda and this machine has {available} GPUs for {local_world} processes; set"
            " fewer training.processes, or training.device=cpu"
        )
    if promised and device == "auto" and available < local_world:
        raise TrainingError(
            f"cluster.profile is gpu, and torch sees {available} GPUs for {local_world} processes of this"
            f" pod: {why_no_gpu()}; look at the image's PyTorch, the node's driver and"
            " cluster.pod.runtime_class (nvidia on k3s and others), or set cluster.profile=cpu"
        )
    if device == "cpu" or available < local_world:
        return torch.device("cpu")
    return torch.device("cuda", local_rank)
