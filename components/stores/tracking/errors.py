"""What MLflow's errors mean, and what to do."""

import re

from lossmap.components.stores.tracking.server import without_password

_CAUSES = (
    (
        r"timed out|timeout exception",
        "does not answer in time; look at the server, or raise MLFLOW_HTTP_REQUEST_TIMEOUT",
    ),
    (r"Invalid Host header", "does not accept this name of its host; add it to the server's --allowed-hosts"),
    (r"error code 40[13]\b", "refuses; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
    (
        r"error code 404 !=|valid JSON|Expecting value",
        "is not an MLflow server; correct LOSSMAP_TRACKING or --tracking",
    ),
    (
        r"HTTPS?ConnectionPool|Connection aborted",
        "is out of reach; start it, or correct LOSSMAP_TRACKING or --tracking",
    ),
    (
        r"out-of-date database schema|Can't locate revision",
        "is of another version of MLflow; install that one, or run `mlflow db upgrade` on it",
    ),
    (
        r"sqlite3|is not a database|unable to open|is locked|Errno",
        "cannot be used; look at the file and its disk, or name another with --tracking",
    ),
)
_OTHERWISE = "refuses; look at its log, or name another with --tracking"


def explanation(uri: str, error: Exception) -> str:
    """One line that names the server or database without its password, the cause as far as it is known,
    and the cure.
    """
    reason = without_password(" ".join(str(error).split())).partition(" [SQL: ")[0]
    cause = next((text for pattern, text in _CAUSES if re.search(pattern, reason)), _OTHERWISE)
    system = re.search(r'\[Errno -?\d+\][^"()]*', reason)
    innermost = system[0] if system else reason.rpartition("(Caused by ")[2][:200]
    return f"MLflow at {without_password(uri)} {cause} ({innermost})"
