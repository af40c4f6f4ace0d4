"""What `lossmap doctor` looks at: what is installed, what this machine has, and whether store and MLflow answer."""

import http.client
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import quote, unquote, urlparse

from lossmap.components.config.errors import StoreError, TrackingError
from lossmap.components.stores.tracking_server import database, is_server, without_password

_PACKAGES = ("torch", "torchvision", "mlflow", "kfp", "kubeflow-training", "boto3")
_PYTHON = (3, 11)
_GIB = 1 << 30
_LEAST_MEMORY, _LEAST_DISK = 2 * _GIB, 1 * _GIB
_TORCH_SECONDS = 120  # the first import of torch after a start of the machine
_HEALTH_SECONDS = 5
_TORCHRUN = """
import json, subprocess, sys, torch
names = [torch.cuda.get_device_name(gpu) for gpu in range(torch.cuda.device_count())]
import torch.distributed.run as torchrun
torchrun.get_args_parser()
print(json.dumps({"gpus": names, "cuda": torch.version.cuda, "distributed": torch.distributed.is_available()}))
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what.
        ok: whether it is as it has to be.
        detail: what was found.
        cure: what to do, in one sentence; empty where all is well.
    """

    name: str
    ok: bool
    detail: str
    cure: str = ""
