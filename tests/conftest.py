"""What several tests need: how they share the cores, an S3 server, MLflow's tables, and real images."""

import json
import os
import shutil
import signal
import sys
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

# One thread in each process, and in those that it starts; torch and numpy read it when they are imported.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
os.environ["COLUMNS"] = "300"  # rich reads it when a screen is imported
# A shell that starts the tests in the background has them ignore Ctrl-C, and what they start does as they do.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import boto3
import pytest
from joblib import cpu_count
from moto.server import ThreadedMotoServer

from lossmap.components.stores.tracking.client import RunTracker

# Where it is set, as in many images, each process compiles all of lossmap, and each worker all of the tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

_BUCKET = "lossmap-tests"
_CHECKOUT = Path(__file__).parents[1]


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A worker for each core, and one that computes while another waits for a server or a signal; none for a
    single file, which one worker would get whole.
    """
    single = len(config.args) == 1 and config.args[0].partition("::")[0].endswith(".py")
    return 0 if single else cpu_count() + 1


@pytest.fixture(scope="session")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], str]:
    """Gives a folder an MLflow database without runs, as a copy, and returns its address.

    MLflow takes a second or two to make its tables. Of the workers of all cores the first makes them, and the
    others wait for it, as any processes that open one database do.
    """
    parallel = "PYTEST_XDIST_WORKER" in os.environ
    shared = tmp_path_factory.getbasetemp().parent if parallel else tmp_path_factory.getbasetemp()
    RunTracker(f"sqlite:///{shared}/mlflow.db", "", "").resume()  # finds nothing in what it makes

    def place(folder: Path) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shared / "mlflow.db", folder / "mlflow.db")
        return f"sqlite:///{folder}/mlflow.db"

    return place


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server that speaks HTTP on a free port, and has a bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "tester", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    client = boto3.session.Session(**keys).client("s3", endpoint_url=f"http://{host}:{port}")
    client.create_bucket(Bucket=_BUCKET)
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An empty prefix in a bucket, and the environment that leads to it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    environment = {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no-credentials"),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{_BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture
def s3_account(
    s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Sequence[str]], AbstractContextManager[None]]:
    """Makes an account that has these rights, such as s3:GetObject, and no others. Within the block the
    environment has its keys, and the server looks at them.
    """

    @contextmanager
    def account(rights: Sequence[str]) -> Iterator[None]:
        keys = {"aws_access_key_id": "admin", "aws_secret_access_key": "admin", "region_name": "us-east-1"}
        iam, name = boto3.session.Session(**keys).client("iam", endpoint_url=s3_server), uuid.uuid4().hex
        iam.create_user(UserName=name)
        # Of AWS, ListBucket is the right to ask for the head of a bucket; moto has one of its own.
        actions = [*rights, *("s3:HeadBucket" for right in rights if right == "s3:ListBucket")]
        statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName=name, PolicyName="rights", PolicyDocument=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        _requests_without_check(s3_server, "0")
        try:
            yield
        finally:
            _requests_without_check(s3_server, "inf")

    return account


def _requests_without_check(server: str, count: str) -> None:
    request = urllib.request.Request(
        f"{server}/moto-api/reset-auth", data=count.encode(), headers={"Content-Type": "text/plain"}
    )
    urllib.request.urlopen(request).close()


@pytest.fixture
def shared_cifar10() -> Path:
    """All of CIFAR-10 as PNG files in a zip: LOSSMAP_TEST_DATA, or ../shared/data/cifar10.zip beside the
    checkout.
    """
    path = Path(os.environ.get("LOSSMAP_TEST_DATA") or _CHECKOUT.parent / "shared" / "data" / "cifar10.zip")
    if not path.is_file():
        end = pytest.fail if os.environ.get("LOSSMAP_REQUIRE_SHARED") == "1" else pytest.skip
        end("needs ../shared/data/cifar10.zip")
    return path
