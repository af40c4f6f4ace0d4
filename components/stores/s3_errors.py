"""What went wrong between here and an S3 server, in one line with the cure that fits."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lossmap.components.core.errors import StoreError

_RIGHTS = {
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject on its objects and s3:ListBucket on the bucket",
    "PutObject": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "HeadBucket": "s3:ListBucket on the bucket",
    "ListObjectsV2": "s3:ListBucket on the bucket",
}
_TRY_LATER = "the server is busy or being repaired: try again later"
_SIGN_IN = "the keys are of a session that is over: sign in again (`aws sso login`), or set AWS_SESSION_TOKEN"
_REGION = "set AWS_REGION, or `region` of the profile, to the region of the bucket"
_FULL = "the server's disk is full: free space there"
_QUOTA = "the quota of the bucket or of the account is used up: free space there, or have it raised"
_SIZE = (
    "the server, or a proxy before it, takes no body of that size: raise its limit"
    " (client_max_body_size of nginx)"
)
# error codes as servers send them, or the HTTP status where a proxy's answer holds none
_CURES = {
    r"RequestTimeTooSkewed|RequestExpired|RequestInTheFuture": "the clock of this machine is wrong: set it",
    r"InvalidAccessKeyId|InvalidClientTokenId|UnrecognizedClientException": "check AWS_ACCESS_KEY_ID",
    r"SignatureDoesNotMatch": "check AWS_SECRET_ACCESS_KEY, and that no proxy changes the request",
    r"ExpiredToken.*|TokenRefreshRequired|InvalidToken": _SIGN_IN,
    r"AuthorizationHeaderMalformed|PermanentRedirect|TemporaryRedirect|IllegalLocation.*|30\d": _REGION,
    r"SlowDown.*|Throttl.*|TooManyRequests.*|RequestLimitExceeded|.*Busy|429": _TRY_LATER,
    r"ServiceUnavailable|InternalError|OperationAborted|RequestTimeout|50[0234]": _TRY_LATER,
    r".*StorageFull|.*InsufficientStorage.*|507": _FULL,
    r".*Quota.*": _QUOTA,
    r"EntityTooLarge|.*TooLarge|413": _SIZE,
    r"KMS\..*|.*KMS.*": "check the key of the server-side encryption, and the right to use it",
    r"MethodNotAllowed|NotImplemented|405|501": "what answers at AWS_ENDPOINT_URL is no S3 server",
    r"InvalidBucketName": "correct --store",
    r"407": "the proxy asks for a name and a password: check HTTPS_PROXY",
    r"401": "check the credentials, or that no sign-in page is before the server",
}
_FORBIDDEN = r"AccessDenied|Forbidden|403|AllAccessDisabled|AccountProblem"
# of botocore's own exceptions, by name
_FAILURES = {
    "NoCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "PartialCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, both",
    "ProfileNotFound": "correct AWS_PROFILE, or write that profile into ~/.aws/config",
    "ConfigParseError": "correct that file",
    "CredentialRetrievalError": "check the program or the service that gives the keys",
    "MetadataRetrievalError": "check the role of this machine or pod",
    "UnauthorizedSSOTokenError": "sign in: aws sso login",
    "SSOTokenLoadError": "sign in: aws sso login",
    "TokenRetrievalError": "sign in: aws sso login",
    "SSLError": "set AWS_CA_BUNDLE to the file of the server's certificate authority",
    "ProxyConnectionError": "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY",
    "ResponseParserError": "what answers is no S3 server, perhaps a sign-in page; check AWS_ENDPOINT_URL",
    "InvalidRegionError": "correct AWS_REGION",
}


@contextmanager
def explained(uri: str, key: str) -> Iterator[None]:
    """Turns boto3's errors into one line that names the store, the key, what happened, and the cure.

    Raises:
        StoreError: with that line.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        raise StoreError(_refusal(uri, key, error.response, error.operation_name)) from None
    except ParamValidationError as error:
        raise StoreError(f"store is {uri!r}, expected s3://bucket/prefix: {_line(error)}") from None
    # boto3 refuses an endpoint without http:// by a ValueError
    except (BotoCoreError, Boto3Error, ResponseParserError, ValueError) as error:
        raise StoreError(_failure(uri, error)) from None
    except OSError as error:  # such as a file of a token that is not there
        raise StoreError(
            f"{uri}: {error.filename or _line(error)}: {error.strerror}; check that file"
        ) from None


def _refusal(uri: str, key: str, response: Any, operation: str) -> str:
    status = str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    code = response.get("Error", {}).get("Code", "") or status
    if code == "NoSuchBucket" or (operation == "HeadBucket" and status == "404"):
        return f"{uri}: the bucket does not exist; create it or correct --store"
    if code in ("NoSuchKey", "404", "NotFound"):
        return f"{uri} has no object {key}"
    told = f"{uri}: {code}{f' ({status})' if status and status != code else ''} for {key or 'the bucket'}"
    if re.fullmatch(_FORBIDDEN, code):
        right = _RIGHTS.get(operation, operation)
        return f"{told}; the account of these keys needs the right {right}{_condition(response)}"
    for pattern in (code, status):
        cure = next((cure for known, cure in _CURES.items() if re.fullmatch(known, pattern)), None)
        if cure:
            return f"{told}; {cure}"
    message = _line(response.get("Error", {}).get("Message") or "")
    return (
        f"{told}{f': {message}' if message else ''}; what the server means by it is in its own documentation"
    )


def _condition(response: Any) -> str:
    """What a policy asks for besides, as far as the server's message says it."""
    message = _line(response.get("Error", {}).get("Message") or "")
    return f" (the server says: {message})" if message and message != "Access Denied" else ""


def _failure(uri: str, error: Exception) -> str:
    names = [kind.__name__ for kind in type(error).__mro__]
    cure = next((cure for name, cure in _FAILURES.items() if name in names), None)
    if "NoCredentialsError" in names:
        return f"{uri}: no credentials; {cure}"
    if cure:
        return f"{uri}: {_line(error)}; {cure}"
    return f"{uri} is out of reach: {_line(error)}; check AWS_ENDPOINT_URL"


def _line(error: object) -> str:
    return " ".join(str(error).split()).rstrip(".")[:300]
