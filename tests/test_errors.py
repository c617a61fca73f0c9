"""Secrets stay out of messages, and errors pass from process to process."""

import pickle

import pytest

from repaint_batch.errors import BatchTooLarge, redact


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("http://key:hunter2@host/a", "http://***@host/a"),
        ("s3://AKIA:hunter2@bucket/k", "s3://***@bucket/k"),
        ("aws_secret_access_key=hunter2 region=x", "aws_secret_access_key=*** region=x"),
        ("{'AWS_SECRET_ACCESS_KEY': 'hunter2'}", "{'AWS_SECRET_ACCESS_KEY': '***'}"),
        ("GET /k?X-Amz-Signature=hunter2&X-Amz-Expires=3", "GET /k?X-Amz-Signature=***&X-Amz-Expires=3"),
        ("session_token: hunter2", "session_token: ***"),
    ],
)
def test_secrets_are_hidden(text: str, without: str) -> None:
    assert redact(text) == without


@pytest.mark.parametrize("text", ["s3://bucket/a@b.png", "unknown key; known keys: preset, seed", "mask is null",
                                  "s3://bucket/token=7/a.JPG: no such object", "secret: plans.tif is no picture"])  # fmt: skip
def test_the_rest_stays(text: str) -> None:
    assert redact(text) == text


def test_an_error_with_a_figure_passes_from_process_to_process() -> None:
    error = pickle.loads(pickle.dumps(BatchTooLarge("16 windows do not fit, 4 do", 4)))
    assert (str(error), error.fits) == ("16 windows do not fit, 4 do", 4)
