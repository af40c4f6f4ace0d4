"""What MLflow's server, its client and the way between them say becomes one line with the cure that fits."""

import errno

import boto3.exceptions
import botocore.exceptions
import pytest
import requests
from mlflow.exceptions import MlflowException

from lossmap.components.core.errors import TrackingError
from lossmap.components.stores.tracking.errors import artifacts_explained, explained

URI = "http://ann:secret@mlflow.example:5000"
PLACE = "s3://artifacts/mlflow/1/r/artifacts"


def _line(error, context):
    with pytest.raises(TrackingError) as told, context:
        raise error
    assert "\n" not in str(told.value)
    assert "secret" not in str(told.value)
    return str(told.value)


def _answer(status, body="no"):
    return MlflowException(
        f"API request to endpoint /api/2.0/mlflow/runs/create failed with error code {status} != 200."
        f" Response body: '{body}'"
    )


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (_answer(401), "does not know who asks; set MLFLOW_TRACKING_USERNAME"),
        (_answer(403), "does not let user ann write into its experiment digits; have the permission EDIT"),
        (MlflowException("PERMISSION_DENIED: Permission denied"), "does not let user ann write into"),
        (_answer(403, "Invalid Host header"), "does not accept this name of its host"),
        (_answer(404, "<html>"), "is not an MLflow server, or a sign-in page is before it"),
        (_answer(302, ""), "is not an MLflow server, or a sign-in page is before it"),
        (_answer(413, "<html>"), "takes no file of that size"),
        (_answer(503, ""), "is busy or being started; try again later"),
        (_answer(500, "boom"), "refuses; look at its log"),
        (MlflowException("400: QueuePool limit of size 5 overflow 10"), "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE"),
        (MlflowException("… [SSL: CERTIFICATE_VERIFY_FAILED] …"), "set MLFLOW_TRACKING_SERVER_CERT_PATH"),
        (MlflowException("… [SSL: WRONG_VERSION_NUMBER] …"), "check http:// and https:// in its address"),
        (
            OSError("Could not find a suitable TLS CA certificate bundle: /x"),
            "file that is not there",
        ),
        (MlflowException("HTTPSConnectionPool… ProxyError('Cannot connect to proxy')"), "check HTTPS_PROXY"),
        (MlflowException("experiment 401 is odd, at port 4030"), "refuses; look at its log"),
    ],
)
def test_a_refusal_has_the_cure_that_fits(error, cause):
    line = _line(error, explained(URI, "digits"))
    assert line.startswith("MLflow at http://mlflow.example:5000 ")
    assert cause in line


def test_a_disk_of_this_machine_that_is_full_is_not_the_servers_fault():
    error = OSError(errno.ENOSPC, "No space left on device", "/tmp/x")
    told = "did not get everything: /tmp/x: No space left on device; the disk is full: free space, or"
    assert told in _line(error, explained(URI, "digits"))


def test_a_name_in_the_environment_is_told(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bob")
    assert "let user bob write" in _line(_answer(403), explained("http://h", "digits"))
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    assert "let whoever asks write" in _line(_answer(403), explained("http://h", "digits"))


def _upload_that_failed():
    response = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    error = boto3.exceptions.S3UploadFailedError("Failed to upload")
    error.__cause__ = botocore.exceptions.ClientError(response, "PutObject")
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            _upload_that_failed(),
            "AccessDenied (403) for its files; the account of these keys needs",
        ),
        (botocore.exceptions.NoCredentialsError(), "no credentials; set AWS_ACCESS_KEY_ID"),
        (ImportError("No module named 'google'"), "ImportError: No module named 'google'"),
        (RuntimeError("of a plug-in"), "RuntimeError: of a plug-in"),
    ],
)
def test_files_that_do_not_arrive_are_told_with_their_place(error, reason):
    line = _line(error, artifacts_explained(URI, PLACE))
    told = f"not its files, which go from this machine to {PLACE}: "
    assert line.startswith(f"MLflow at http://mlflow.example:5000 has the numbers of this run and {told}")
    assert reason in line


@pytest.mark.parametrize("kind", [MlflowException, requests.HTTPError])
def test_what_the_server_itself_says_of_files_is_explained_as_ever(kind):
    with pytest.raises(TrackingError, match="takes no file of that size"), explained(URI, "digits"):  # noqa: SIM117
        with artifacts_explained(URI, "mlflow-artifacts:/1/r/artifacts"):
            raise kind("413 Client Error: Request Entity Too Large")
