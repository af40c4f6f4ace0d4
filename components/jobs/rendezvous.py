"""torchrun in a pod of a TrainJob, which sets PET_*; the first pod is where all of them meet:

    python -m lossmap.components.jobs.rendezvous 600 OPTION... -m PROGRAM ARGUMENT...

torchrun itself finds out by names whether it is on the machine of its `--rdzv-endpoint`. A pod that starts
before the cluster's DNS knows it takes itself for another one, and then all wait for each other until their
patience, of 600 s here, is over (torch 2.15, `_matches_machine_hostname` in
torch/distributed/elastic/rendezvous/utils.py).
"""

import os
import sys
from collections.abc import MutableMapping

__all__ = ["options"]


def options(seconds: int, environment: MutableMapping[str, str]) -> list[str]:
    """torchrun's options for a rendezvous that pods made anew can join, for so many seconds.

    Takes PET_NODE_RANK, which says nothing more to torchrun, out of the environment.
    """
    is_host = environment.pop("PET_NODE_RANK") == "0"
    return [
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={environment['PET_MASTER_ADDR']}:{environment['PET_MASTER_PORT']}",
        f"--rdzv-conf=is_host={is_host},join_timeout={seconds},read_timeout={seconds}",
    ]


if __name__ == "__main__":
    from torch.distributed.run import main

    main([*options(int(sys.argv[1]), os.environ), *sys.argv[2:]])
