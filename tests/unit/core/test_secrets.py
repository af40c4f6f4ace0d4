import pytest

from lossmap.components.core.errors import LossmapError
from lossmap.components.core.secrets import without_password, without_secrets


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("http://ann:s3cr%40t@host:5000/x", "http://host:5000/x"),
        ("http://ann:s3cr@t@host:5000/x", "http://host:5000/x"),
        ("GET https://ann@host/ and http://b:c@d", "GET https://host/ and http://d"),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
        ("ann@example.org is at file:///home/ann@home", "ann@example.org is at file:///home/ann@home"),
    ],
)
def test_addresses_are_without_passwords(text, left):
    assert without_password(text) == left


def test_no_secret_of_the_environment_is_in_an_error(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a-long-token\n")
    monkeypatch.setenv("LOSSMAP_DATA_AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "is")
    quoted = "invalid header b'Bearer a-long-token\\n'; wJalrXUtnFEMI is no key"
    assert str(LossmapError(quoted)) == "invalid header b'Bearer …\\n'; … is no key"


def test_what_a_header_says_of_who_asks_is_left_out():
    assert without_secrets("{'Authorization': 'Bearer eyJh.x'}") == "{'Authorization': 'Bearer …'}"
    assert without_secrets("b'Basic YW5u\\n'; Basic, and no more") == "b'Basic …\\n'; Basic, and no more"
