"""Mutated files are restored or refused: no decoder ends its process, hangs, or takes more memory than it may."""

import os

import pytest

from .fuzz import run


@pytest.mark.slow
def test_mutated_files_end_no_process() -> None:
    """Ten minutes, or as many as FUZZ_MINUTES says, from file FUZZ_FIRST on."""
    counts, fatal = run(float(os.environ.get("FUZZ_MINUTES", "10")), int(os.environ.get("FUZZ_FIRST", "0")))
    for word, count in counts.most_common(40):
        print(f"{count:8} {word}")
    assert not fatal
    assert counts["refused"] > 0
    assert counts["restored"] > 0
