"""What commands call the settings of a job that are flags of theirs."""

import contextlib
from collections.abc import Iterator

from repaint_batch.errors import PriorError


@contextlib.contextmanager
def flags(**names: str) -> Iterator[None]:
    """Let errors of a prior name the flags of a command: `flags(source="--prior")`."""
    try:
        yield
    except PriorError as error:
        text = str(error)
        for setting, flag in names.items():
            text = text.replace(f"prior.{setting}", flag)
        raise type(error)(text) from error
