"""Values made once, and kept within their weight."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from repaint_batch.review.kept import Kept


def test_who_asks_at_once_shares_what_is_made() -> None:
    made: list[int] = []
    together = Barrier(4)

    def make(key: int) -> int:
        made.append(key)
        return 2 * key

    kept = Kept(make, 10)

    def ask(_: int) -> int:
        together.wait()
        return kept[21]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == [42] * 4
    assert made == [21]


def test_those_asked_for_last_are_kept_within_the_weight_and_the_last_one_whatever_it_weighs() -> None:
    made: list[int] = []
    kept = Kept(lambda key: made.append(key) or key, 10, lambda value: value)  # type: ignore[func-returns-value]
    for key in (4, 5, 4, 3, 4, 5, 20, 20, 4):
        assert kept[key] == key
    assert made == [4, 5, 3, 5, 20, 4]


def test_what_fails_or_is_not_there_is_tried_again() -> None:
    tries = iter([ValueError("no"), None, "yes"])

    def make(key: str) -> str | None:
        found = next(tries)
        if isinstance(found, ValueError):
            raise found
        return found

    kept = Kept(make, 10)
    with pytest.raises(ValueError, match="no"):
        kept["a"]
    assert kept["a"] is None
    assert kept["a"] == "yes"
