"""What an object store means by an error, whoever reports it: s3fs, botocore, aiohttp, or deltalake's client in words alone.

Error codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html. MinIO, Ceph and SeaweedFS use the same ones
and add a few. An answer to HEAD has no body, and so no code but its status: an expired token is 400 there.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

import aiohttp
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from fsspec.exceptions import FSTimeoutError

from repaint_batch.errors import redact


class Kind(Enum):
    """What can be done about it."""

    MISSING = "there is no such object"
    TAKEN = "something is there already"
    FAULTY = "this cannot be done, now or later"
    REFUSED = "not allowed: this one thing, or everything since credentials were revoked"
    UNTRUSTED = "the store does not accept this client: credentials, clock"
    UNVERIFIED = "this client does not accept the store: nobody whom it trusts has signed its certificate, or it is out of date"
    SILENT = "the store does not answer, cannot at the moment, or its answer was damaged on the way"


class Damaged(OSError):
    """What arrived is not what was sent."""


class Rotten(OSError):
    """What the store keeps is not what it was given."""


@dataclass(frozen=True)
class Trouble:
    """An error, understood.

    Attributes:
        kind: what can be done about it.
        words: the store's own, or those of the client that cannot reach it.
        code: the store's error code, or its status; empty where it said nothing.
    """

    kind: Kind
    words: str
    code: str = ""

    @property
    def advice(self) -> str:
        """What the reader may do about it."""
        if self.code in _ADVICE:
            return _ADVICE[self.code]
        if self.kind is Kind.UNTRUSTED:
            return "renew the credentials"
        if self.kind is Kind.UNVERIFIED:
            return "name the file with its authority's certificate in AWS_CA_BUNDLE and SSL_CERT_FILE, on every node"
        return "give back the permission" if self.kind is Kind.REFUSED else "see that it runs and can be reached from here"


_FULL = ("QuotaExceeded", "InsufficientCapacity", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded")
_CODES = {
    Kind.MISSING: ("NoSuchKey", "NoSuchBucket", "NoSuchVersion", "NotFound"),
    Kind.TAKEN: ("PreconditionFailed",),
    Kind.FAULTY: ("InvalidObjectState",),  # archived, though it comes with 403
    Kind.REFUSED: ("AccessDenied", "AllAccessDisabled", "400"),  # what came without a code may mean anything
    Kind.UNTRUSTED: (
        *("ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidToken", "TokenRefreshRequired"),
        *("InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch"),
        *("AuthorizationHeaderMalformed", "RequestTimeTooSkewed", "AccountProblem", "NotSignedUp", "InvalidSecurity"),
    ),
    Kind.SILENT: (
        *("InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "BandwidthLimitExceeded"),
        *("TooManyRequests", "RequestLimitExceeded", "Throttling", "ThrottlingException", "KMS.ThrottlingException"),
        *("OperationAborted", "ConditionalRequestConflict", "NoSuchUpload"),  # sent again from the start, it may succeed
        *("BadDigest", "InvalidDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"),
        *("XMinioServerNotInitialized", *_FULL),
    ),
}
_STATUSES = {
    401: Kind.UNTRUSTED,
    403: Kind.REFUSED,
    404: Kind.MISSING,
    408: Kind.SILENT,
    412: Kind.TAKEN,
    429: Kind.SILENT,
    501: Kind.FAULTY,  # not implemented, today or tomorrow
}
_KINDS = {code: kind for kind, codes in _CODES.items() for code in codes}
_ADVICE = dict.fromkeys(_FULL, "make room in it") | {
    "RequestTimeTooSkewed": "set the clock of this machine right",
    "AccountProblem": "ask whoever runs the account",
}
_ISSUE = ("AssumeRole", "AssumeRoleWithWebIdentity", "GetRoleCredentials", "GetCredentialsForIdentity", "CreateToken")
_UNTRUSTED = (
    *(boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError, boto.TokenRetrievalError),
    *(boto.SSOError, boto.MetadataRetrievalError, boto.ProfileNotFound, boto.ConfigParseError, boto.NoRegionError),
)
_SILENT = (
    *(boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError, boto.ChecksumError),
    *(boto.FlexibleChecksumError, ResponseParserError, aiohttp.ClientError, FSTimeoutError, TimeoutError, ConnectionError),
    Damaged,
)
_BY_TYPE: list[tuple[tuple[type[BaseException], ...], Kind]] = [
    ((boto.SSLError, aiohttp.ClientConnectorCertificateError), Kind.UNVERIFIED),
    (_UNTRUSTED, Kind.UNTRUSTED),
    (_SILENT, Kind.SILENT),
    ((FileNotFoundError,), Kind.MISSING),
    ((FileExistsError,), Kind.TAKEN),
    (
        (
            PermissionError,
            IsADirectoryError,
        ),
        Kind.REFUSED,
    ),
    ((boto.BotoCoreError, Rotten), Kind.FAULTY),
]
_CODE = re.compile(r"<Code>([\w.]+)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
_STATUS = re.compile(r"status code\W+(\d{3})\b")
_NO_ANSWER = re.compile(r"(?i)error performing (?:get|head|put|post|delete)|http error|timed? ?out|connection|dns error")
_NO_CREDENTIALS = re.compile(r"(?i)credential|expired ?token|sts\b|metadata endpoint")
_NO_CERTIFICATE = re.compile(r"(?i)invalid peer certificate")
_STYLE = re.compile(r"\x1b\[\d*m|↳")
_MOST_WORDS = 300


def trouble_of(error: BaseException) -> Trouble | None:
    """Return what an error of a client says of the store; None if it is none of the store's.

    Args:
        error: as s3fs raises it, which translates what botocore raised.
    """
    for cause in _causes(error):
        if isinstance(cause, boto.ClientError):
            said = cause.response.get("Error", {})
            status = int(cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            trouble = told(str(said.get("Code", status)), status, str(said.get("Message", "")))
            # Asked for credentials, another service has refused them.
            by_issuer = cause.operation_name in _ISSUE and trouble.kind is not Kind.SILENT
            return replace(trouble, kind=Kind.UNTRUSTED) if by_issuer else trouble
    for types, kind in _BY_TYPE:
        if isinstance(error, types):
            return Trouble(kind, redact(f"{error}"[:_MOST_WORDS] or type(error).__name__))
    return None


def told(code: str, status: int = 0, message: str = "") -> Trouble:
    """Return what the store meant by an error code, which may be a status, and a status of HTTP; 0 if that is unknown."""
    words = f'{code}, "{redact(message[:_MOST_WORDS])}"' if message else code
    status = status or (int(code) if code.isdecimal() else 0)
    by_status = _STATUSES.get(status, Kind.SILENT if status >= 500 else Kind.FAULTY)
    return Trouble(_KINDS.get(code, by_status), words, code)


def trouble_in(text: str) -> Trouble | None:
    """Return what an error of deltalake, of which there is only the text, says of the store; None if nothing."""
    plain = " ".join(_STYLE.sub(" ", text).split())
    code, status = _CODE.search(plain), _STATUS.search(plain)
    if code or status:
        message = _MESSAGE.search(plain)
        number = status.group(1) if status else "0"
        return told(code.group(1) if code else number, int(number), message.group(1) if message else "")
    kinds = ((_NO_CERTIFICATE, Kind.UNVERIFIED), (_NO_CREDENTIALS, Kind.UNTRUSTED), (_NO_ANSWER, Kind.SILENT))
    return next((Trouble(kind, redact(plain[:_MOST_WORDS])) for found, kind in kinds if found.search(plain)), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__
