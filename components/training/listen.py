"""What training processes say on their standard output, and who hears of it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lossmap.components.core.notes import tell
from lossmap.components.core.progress import Progress


@dataclass(frozen=True)
class Listeners:
    """Who hears how training goes: `progress` after every step, `epoch` the metrics of every finished
    epoch.
    """

    progress: Progress
    epoch: Callable[[Mapping[str, float]], None]


class Listener:
    """Understands the JSON lines of the training processes (see main.py); everything else they print is for
    the log.

    Attributes:
        reason: the first error that another start would meet again; empty without one.
        loss: the first loss of another process or of the network.
        stopped: why the processes stopped where they are.
        killed: whether torchrun saw a process die of SIGKILL.
    """

    def __init__(self, listeners: Listeners):
        self._listeners, self._detail = listeners, ""
        self.reason, self.loss, self.stopped, self.killed = "", "", "", False

    def hear(self, line: str) -> None:
        """Take in one line of any process."""
        self.killed = self.killed or "(SIGKILL) received" in line  # torchrun's own summary
        event = _parsed(line)
        kind = event.pop("event", "")
        if kind == "epoch":
            self._listeners.epoch(event)
            self._detail = f"test error {event['test_error']:.2%}"
        elif kind == "progress":
            self._listeners.progress(
                event["done"], event["total"], f"{event['detail']} {self._detail}".strip()
            )
        elif kind == "stopped":
            self.stopped = event["message"]
        elif kind == "warning":
            tell(event["message"])
        elif kind == "error":
            self.reason = self.reason or event["message"]
        elif kind == "lost":
            self.loss = self.loss or event["message"]


def _parsed(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}
