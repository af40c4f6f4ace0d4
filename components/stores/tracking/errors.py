"""What went wrong between here and MLflow, in one line with the cure that fits."""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlparse

from lossmap.components.core import machine
from lossmap.components.core.errors import LossmapError, TrackingError
from lossmap.components.core.secrets import without_password
from lossmap.components.stores.s3_errors import explained as s3_explained


def _status(codes: str) -> str:
    """How MLflow's client, requests and urllib3 tell the status of an answer."""
    return rf"(error code|too many) ({codes})\b|\b({codes}) (Client|Server) Error"


# the first that is found in the message
_CAUSES = (
    (
        r"timed out|timeout exception",
        "does not answer in time; look at the server, or raise MLFLOW_HTTP_REQUEST_TIMEOUT",
    ),
    (r"Invalid Host header", "does not accept this name of its host; add it to the server's --allowed-hosts"),
    (
        _status("401") + "|UNAUTHENTICATED|UNAUTHORIZED|Unauthorized",
        "does not know who asks; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or"
        " MLFLOW_TRACKING_TOKEN",
    ),
    (
        _status("403") + "|PERMISSION_DENIED|Forbidden",
        "does not let {who} write into its experiment {study}; have the permission EDIT given for it, or"
        " choose another one with --set study=NAME",
    ),
    (r"auth provider", "is asked by a plug-in that is not installed; correct MLFLOW_TRACKING_AUTH"),
    (
        _status("413"),
        "takes no file of that size; raise the limit of the proxy before it (client_max_body_size of nginx)",
    ),
    (r"QueuePool limit", "has too few connections to its database; raise MLFLOW_SQLALCHEMYSTORE_POOL_SIZE"),
    (
        r"ProxyError|" + _status("407"),
        "is behind a proxy that fails; check HTTPS_PROXY, HTTP_PROXY and NO_PROXY",
    ),
    (
        r"TLS CA certificate bundle|TLS certificate file|TLS key file",
        "needs a file that is not there; correct MLFLOW_TRACKING_SERVER_CERT_PATH,"
        " MLFLOW_TRACKING_CLIENT_CERT_PATH or REQUESTS_CA_BUNDLE",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        "has a certificate that is not trusted here; set MLFLOW_TRACKING_SERVER_CERT_PATH to the file of its"
        " authority",
    ),
    (
        r"SSLError|SSL:",
        "does not speak HTTPS as this machine does; check http:// and https:// in its address",
    ),
    (_status("429|502|503|504"), "is busy or being started; try again later"),
    (
        _status(r"30\d|404|405") + "|valid JSON|Expecting value|Invalid url|InvalidURL",
        "is not an MLflow server, or a sign-in page is before it; correct LOSSMAP_TRACKING or --tracking, or"
        " set MLFLOW_TRACKING_TOKEN",
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


@contextmanager
def explained(uri: str, study: str) -> Iterator[None]:
    """Turns MLflow's errors into one line that names the server or database without its password, the cause
    as far as it is known, and the cure.

    Raises:
        TrackingError: with that line.
    """
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (
        MlflowException,
        SQLAlchemyError,
        sqlite3.Error,
        requests.RequestException,
        OSError,
        ValueError,
    ) as error:
        raise TrackingError(explanation(uri, error, study)) from None


def explanation(uri: str, error: Exception, study: str) -> str:
    """That line."""
    if isinstance(error, OSError) and (own := machine.explanation(error)):
        return f"MLflow at {without_password(uri)} did not get everything: {own}"
    reason = without_password(" ".join(str(error).split())).partition(" [SQL: ")[0]
    cause = next((text for pattern, text in _CAUSES if re.search(pattern, reason)), _OTHERWISE)
    system = re.search(r'\[Errno -?\d+\][^"()]*', reason)
    innermost = system[0] if system else reason.rpartition("(Caused by ")[2][:200]
    cause = cause.format(who=_who(uri), study=study)
    return f"MLflow at {without_password(uri)} {cause} ({innermost})"


def _who(uri: str) -> str:
    name = unquote(urlparse(uri).username or "") or os.environ.get("MLFLOW_TRACKING_USERNAME")
    return f"user {name}" if name else "whoever asks"


@contextmanager
def artifacts_explained(uri: str, place: str) -> Iterator[None]:
    """As `explained`, for files that MLflow's client itself brings to where the server keeps them: to a
    bucket, by its own keys, or to whatever a plug-in speaks to.

    Args:
        uri: of the server.
        place: where the files go.

    Raises:
        TrackingError: with the line.
        MlflowException, RequestException: the server itself refuses.
    """
    import requests
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, requests.RequestException):
        raise
    except Exception as error:
        raise TrackingError(
            f"MLflow at {without_password(uri)} has the numbers of this run and not its files, which go from"
            f" this machine to {place}: {_reason(place, error)}"
        ) from None


def _reason(place: str, error: Exception) -> str:
    try:
        with s3_explained(place, "its files"):
            raise error
    except LossmapError as known:
        text = str(known).removeprefix(place).lstrip(": ").replace("--store", "its place on the server")
    except Exception:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:400]
