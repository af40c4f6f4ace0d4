"""What servers, proxies and boto3 say becomes one line with the cure that fits."""

import botocore.exceptions as raised
import pytest
from boto3.exceptions import S3UploadFailedError
from botocore.parsers import ResponseParserError

from lossmap.components.core.errors import StoreError
from lossmap.components.stores.s3_errors import explained

STORE = "s3://bucket/p"


def _line(error):
    with pytest.raises(StoreError) as told, explained(STORE, "k"):
        raise error
    assert "\n" not in str(told.value)
    return str(told.value)


def _refusal(code, status, operation="PutObject", message=""):
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return raised.ClientError(response, operation)


@pytest.mark.parametrize(
    ("code", "status", "cure"),
    [
        ("RequestTimeTooSkewed", 403, "the clock of this machine is wrong: set it"),
        ("InvalidAccessKeyId", 403, "check AWS_ACCESS_KEY_ID"),
        ("SignatureDoesNotMatch", 403, "check AWS_SECRET_ACCESS_KEY, and that no proxy changes the request"),
        ("ExpiredToken", 400, "sign in again"),
        ("AuthorizationHeaderMalformed", 400, "set AWS_REGION"),
        ("PermanentRedirect", 301, "set AWS_REGION"),
        ("SlowDown", 503, "try again later"),
        ("InternalError", 500, "try again later"),
        ("XMinioStorageFull", 507, "disk is full"),
        ("", 507, "disk is full"),
        ("QuotaExceeded", 403, "quota"),
        ("EntityTooLarge", 400, "no body of that size"),
        ("", 413, "no body of that size"),
        ("413", 413, "no body of that size"),
        ("SecondLevelDomainForbidden", 403, "addressing_style = virtual"),
        ("", 405, "no S3 server"),
        ("", 502, "try again later"),
    ],
)
def test_a_refusal_has_the_cure_that_fits(code, status, cure):
    line = _line(_refusal(code, status))
    assert line.startswith(f"{STORE}: {code or status}")
    assert cure in line
    assert str(status) in line
    assert "credentials" not in line


@pytest.mark.parametrize(
    ("operation", "right"),
    [
        ("GetObject", "s3:GetObject"),
        ("HeadObject", "s3:GetObject on its objects and s3:ListBucket on the bucket"),
        ("PutObject", "s3:PutObject"),
        ("DeleteObject", "s3:DeleteObject"),
        ("ListObjectsV2", "s3:ListBucket on the bucket"),
    ],
)
@pytest.mark.parametrize("code", ["AccessDenied", "403", "Forbidden"])
def test_a_right_that_is_missing_is_named(operation, right, code):
    told = f"{STORE}: {code}{' (403)' * (code != '403')} for k"
    assert (
        _line(_refusal(code, 403, operation)) == f"{told}; the account of these keys needs the right {right}"
    )


def test_what_is_behind_an_upload_in_parts_that_failed_is_told():
    error = S3UploadFailedError("Failed to upload")
    error.__context__ = _refusal("QuotaExceeded", 403)
    assert "the quota of the bucket or of the account is used up" in _line(error)


def test_a_policys_own_words_are_told():
    line = _line(_refusal("AccessDenied", 403, message="aws:kms is required"))
    assert line.endswith("needs the right s3:PutObject (the server says: aws:kms is required)")


def test_a_code_that_nobody_knows_is_told_with_the_servers_message():
    line = _line(_refusal("Novelty", 418, message="I am a teapot"))
    assert line.startswith(f"{STORE}: Novelty (418) for k: I am a teapot; ")


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (raised.NoCredentialsError(), "AWS_PROFILE"),
        (raised.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), "both"),
        (raised.ProfileNotFound(profile="lab"), "correct AWS_PROFILE"),
        (raised.UnauthorizedSSOTokenError(), "aws sso login"),
        (raised.SSOTokenLoadError(error_msg="expired"), "aws sso login"),
        (raised.TokenRetrievalError(provider="sso", error_msg="expired"), "aws sso login"),
        (raised.CredentialRetrievalError(provider="custom-process", error_msg="no"), "gives the keys"),
        (raised.SSLError(endpoint_url="https://x", error="self-signed"), "AWS_CA_BUNDLE"),
        (raised.ProxyConnectionError(proxy_url="http://p"), "HTTPS_PROXY"),
        (raised.EndpointConnectionError(endpoint_url="http://x"), "check AWS_ENDPOINT_URL"),
        (raised.LoginRefreshRequired(), "aws login"),
        (raised.InvalidS3AddressingStyleError(s3_addressing_style="x"), "correct that in ~/.aws/config"),
        (raised.InfiniteLoopConfigError(source_profile="a", visited_profiles=[]), "correct that in"),
        (raised.MissingDependencyException(msg="needs CRT"), "pip install 'botocore[crt]'"),
        (raised.FlexibleChecksumError(error_msg="differs"), "what arrived is not what was sent"),
        (ResponseParserError("invalid XML received"), "a sign-in page"),
        (FileNotFoundError(2, "No such file or directory", "/var/run/token"), "/var/run/token: No such file"),
    ],
)
def test_a_failure_on_the_way_has_the_cure_that_fits(error, cure):
    line = _line(error)
    assert line.startswith(STORE)
    assert cure in line
