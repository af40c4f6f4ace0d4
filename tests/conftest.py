"""What several tests need: an S3 server on this machine, and real images."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

_BUCKET = "lossmap-tests"
_CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server that speaks HTTP on a free port."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
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
    boto3.session.Session().client("s3").create_bucket(Bucket=_BUCKET)
    return f"s3://{_BUCKET}/{uuid.uuid4().hex}"


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
