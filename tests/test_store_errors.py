"""What a store means by its errors."""

import pytest
from botocore import exceptions as boto
from hypothesis import given
from hypothesis import strategies as st
from s3fs.errors import ERROR_CODE_TO_EXCEPTION, translate_boto_error

from repaint_batch.store_errors import Damaged, Kind, told, trouble_in, trouble_of


def raised(code: str, status: int, operation: str = "GetObject") -> BaseException:
    """Return what s3fs raises for an answer."""
    answer = {"Error": {"Code": code, "Message": "so"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error: BaseException = translate_boto_error(boto.ClientError(answer, operation))  # type: ignore[arg-type]
    return error


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("NoSuchKey", 404, Kind.MISSING),
        ("NoSuchBucket", 404, Kind.MISSING),
        ("404", 404, Kind.MISSING),
        ("PreconditionFailed", 412, Kind.TAKEN),
        ("ExpiredToken", 400, Kind.UNTRUSTED),
        ("InvalidToken", 400, Kind.UNTRUSTED),
        ("TokenRefreshRequired", 400, Kind.UNTRUSTED),
        ("InvalidAccessKeyId", 403, Kind.UNTRUSTED),
        ("SignatureDoesNotMatch", 403, Kind.UNTRUSTED),
        ("RequestTimeTooSkewed", 403, Kind.UNTRUSTED),
        ("AccountProblem", 403, Kind.UNTRUSTED),
        ("AccessDenied", 403, Kind.REFUSED),
        ("403", 403, Kind.REFUSED),
        ("400", 400, Kind.REFUSED),
        ("InternalError", 500, Kind.SILENT),
        ("SlowDown", 503, Kind.SILENT),
        ("503", 503, Kind.SILENT),
        ("SomethingNew", 502, Kind.SILENT),
        ("RequestTimeout", 400, Kind.SILENT),
        ("BadDigest", 400, Kind.SILENT),
        ("NoSuchUpload", 404, Kind.SILENT),
        ("QuotaExceeded", 403, Kind.SILENT),
        ("InvalidObjectState", 403, Kind.FAULTY),
        ("KeyTooLongError", 400, Kind.FAULTY),
        ("NotImplemented", 501, Kind.FAULTY),
    ],
)
def test_codes_mean_the_same_through_every_client(code: str, status: int, kind: Kind) -> None:
    found = trouble_of(raised(code, status))
    assert found is not None
    assert (found.kind, found.code, found.words) == (kind, code, f'{code}, "so"')
    delta = trouble_in(
        "Generic S3 error\n \x1b[31m↳\x1b[0m Error performing GET http://h/b/t in 1ms - Server returned non-2xx status code\n"
        f" \x1b[31m↳\x1b[0m {status} Such\n \x1b[31m↳\x1b[0m <Error><Code>{code}</Code><Message>so</Message></Error>"
    )
    assert delta == found


@given(code=st.sampled_from(sorted(ERROR_CODE_TO_EXCEPTION)), status=st.integers(500, 599).filter(lambda status: status != 501))
def test_an_error_of_the_server_is_nobody_elses_fault(code: str, status: int) -> None:
    assert told("", status).kind is Kind.SILENT
    assert told(code, 0).kind is told(code, 0, "whatever it says").kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (boto.EndpointConnectionError(endpoint_url="http://h"), Kind.SILENT),
        (boto.ReadTimeoutError(endpoint_url="http://h"), Kind.SILENT),
        (boto.ConnectionClosedError(endpoint_url="http://h"), Kind.SILENT),
        (boto.IncompleteReadError(actual_bytes=1, expected_bytes=2), Kind.SILENT),
        (TimeoutError(), Kind.SILENT),
        (ConnectionResetError("reset"), Kind.SILENT),
        (Damaged("half"), Kind.SILENT),
        (boto.NoCredentialsError(), Kind.UNTRUSTED),
        (boto.CredentialRetrievalError(provider="p", error_msg="m"), Kind.UNTRUSTED),
        (boto.SSLError(endpoint_url="https://h", error="certificate has expired"), Kind.UNVERIFIED),
        (boto.ParamValidationError(report="Invalid bucket name"), Kind.FAULTY),
        (FileNotFoundError("b/k"), Kind.MISSING),
        (raised("AccessDenied", 403, "AssumeRoleWithWebIdentity"), Kind.UNTRUSTED),
        (raised("InternalError", 500, "AssumeRole"), Kind.SILENT),
    ],
)
def test_errors_of_clients(error: BaseException, kind: Kind) -> None:
    found = trouble_of(error)
    assert found is not None
    assert found.kind is kind


def test_a_bug_is_no_trouble_of_the_store() -> None:
    assert trouble_of(KeyError("x")) is None
    assert trouble_of(OSError(28, "No space left on device")) is None
    assert trouble_in("Schema error: No field named x") is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Error performing GET http://h/b in 1ms, after 10 retries - HTTP error: error sending request", Kind.SILENT),
        ("Kernel error -> Generic S3 error: operation timed out", Kind.SILENT),
        ("the credential provider was not enabled", Kind.UNTRUSTED),
    ],
)
def test_words_without_a_code(text: str, kind: Kind) -> None:
    found = trouble_in(text)
    assert found is not None
    assert found.kind is kind


def test_secrets_are_not_repeated() -> None:
    assert "hunter2" not in told("AccessDenied", 403, "X-Amz-Signature=hunter2").words
