"""A small prior, once a session, and a watcher."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from repaint_batch.jobs.plan import Plan


class Recorder:
    """A watcher that remembers what it was told."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.updates: list[tuple[int, int, int]] = []

    @contextlib.contextmanager
    def __call__(self, plan: Plan, rows_done: int, shards_done: int) -> Iterator[Any]:
        self.plans.append(plan)
        self.updates.append((rows_done, shards_done, 0))
        yield self

    def update(self, rows_done: int, shards_done: int, failed: int, work: str = "") -> None:
        self.updates.append((rows_done, shards_done, failed))


@pytest.fixture
def recorder() -> Recorder:
    """A fresh watcher."""
    return Recorder()
