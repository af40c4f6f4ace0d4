"""What went wrong between here and an S3 server, in one line with the cure that fits."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lossmap.components.core.errors import StoreError
from lossmap.components.stores.s3_client import has_own_variables

_RIGHTS = {
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject on its objects and s3:ListBucket on the bucket",
    "PutObject": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "HeadBucket": "s3:ListBucket on the bucket",
    "ListObjectsV2": "s3:ListBucket on the bucket",
    "AssumeRole": "sts:AssumeRole",
    "AssumeRoleWithWebIdentity": "sts:AssumeRoleWithWebIdentity, which the role's trust policy gives",
}
UPLOAD_VARIABLE = "MLFLOW_S3_UPLOAD_EXTRA_ARGS"
_SETTING = "correct that in ~/.aws/config, or the variable AWS_… that says it"
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
    r"SecondLevelDomainForbidden|.*VirtualHost.*": (
        "it wants the bucket in the host's name: in ~/.aws/config write `s3 =` into the profile and below it"
        " `addressing_style = virtual`"
    ),
    r"InvalidBucketName": "correct --store",
    r"407": "the proxy asks for a name and a password: check HTTPS_PROXY",
    r"401": "check the credentials, or that no sign-in page is before the server",
}
_FORBIDDEN = r"AccessDenied|Forbidden|403|AllAccessDisabled|AccountProblem"
# of botocore's own exceptions, by the name of the class or of one above it
_FAILURES = {
    r"NoCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    r"PartialCredentialsError": "say that there, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, both",
    r"ProfileNotFound": "correct AWS_PROFILE, or write that profile into ~/.aws/config",
    r"ConfigParseError": "correct that file",
    r"CredentialRetrievalError|JSONDecodeError": "check the program or the service that gives the keys",
    r"MetadataRetrievalError": "check the role of this machine or pod",
    r"SSOError|TokenRetrievalError|NoAuthTokenError": "sign in: aws sso login",
    r"LoginError": "sign in: aws login",
    r"RefreshWithMFAUnsupportedError": "sign in with the second factor, and set AWS_SESSION_TOKEN",
    r"MissingDependencyException": "python -m pip install 'botocore[crt]'",
    r"SSLError": "set AWS_CA_BUNDLE to the file of the server's certificate authority",
    r"ProxyConnectionError": "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY",
    r"ResponseParserError": "what answers is no S3 server, perhaps a sign-in page; check AWS_ENDPOINT_URL",
    r"InvalidRegionError": "correct AWS_REGION",
    r"(Invalid|Unknown|InfiniteLoop|Unsupported)\w+": _SETTING,
    r"ChecksumError|FlexibleChecksumError|IncompleteReadError|ResponseStreamingError": (
        "what arrived is not what was sent: try again, and look at the proxies on the way"
    ),
}


@contextmanager
def explained(uri: str, key: str, of_source: bool = False) -> Iterator[None]:
    """Turns boto3's errors into one line that names the store, the key, what happened, and the cure.

    Args:
        uri: of the store.
        key: of the object.
        of_source: it is what a user brings, which may have variables of its own: see s3_client.

    Raises:
        StoreError: with that line.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        line = _refusal(uri, key, error.response, error.operation_name)
    except ParamValidationError as error:
        line = _impossible(uri, error)
    except Boto3Error as error:  # of an upload or download in parts; what happened is behind it
        cause = error.__cause__ or error.__context__
        answered = isinstance(cause, ClientError)
        line = _refusal(uri, key, cause.response, cause.operation_name) if answered else _failure(uri, error)
    # boto3 refuses an endpoint without http:// by a ValueError
    except (BotoCoreError, ResponseParserError, ValueError) as error:
        line = _failure(uri, error)
    except OSError as error:  # such as a file of a token that is not there
        line = f"{uri}: {error.filename or _line(error)}: {error.strerror}; check that file"
    else:
        return
    raise StoreError(_of_the_source(line) if of_source else line) from None


def _of_the_source(line: str) -> str:
    """The line with the source's names of what is to be corrected."""
    line = line.replace("correct --store", "correct its address")
    if has_own_variables():
        return re.sub(r"\bAWS_", "LOSSMAP_DATA_AWS_", line)
    if "AWS_" in line or "keys" in line:
        return f"{line}; where it has keys of its own, set LOSSMAP_DATA_AWS_…"
    return line


def _impossible(uri: str, error: Exception) -> str:
    if re.search(r"[Uu]nknown parameter|Invalid type", str(error)):
        return f"{UPLOAD_VARIABLE} cannot be used: {_line(error)}; correct it"
    return f"store is {uri!r}, expected s3://bucket/prefix: {_line(error)}"


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
    if cure := _found(_CURES, (code, status)):
        return f"{told}; {cure}"
    message = _line(response.get("Error", {}).get("Message") or "")
    return (
        f"{told}{f': {message}' if message else ''}; what the server means by it is in its own documentation"
    )


def _condition(response: Any) -> str:
    """What a policy asks for besides, as far as the server's message says it."""
    message = _line(response.get("Error", {}).get("Message") or "")
    return f" (the server says: {message})" if message and message != "Access Denied" else ""


def _failure(uri: str, error: BaseException) -> str:
    names = [kind.__name__ for kind in type(error).__mro__]
    cure = _found(_FAILURES, names)
    if "NoCredentialsError" in names:
        return f"{uri}: no credentials; {cure}"
    if cure is None and names[0] == "ValueError" and not re.search("endpoint|URL", str(error)):
        cure = _SETTING
    if cure:
        return f"{uri}: {_line(error)}; {cure}"
    return f"{uri} is out of reach: {_line(error)}; check AWS_ENDPOINT_URL"


def _found(cures: Mapping[str, str], names: Iterable[str]) -> str | None:
    """The cure of the first name that has one."""
    found = (cure for name in names for known, cure in cures.items() if re.fullmatch(known, name))
    return next(found, None)


def _line(error: object) -> str:
    return " ".join(str(error).split()).rstrip(".: ")[:300]
