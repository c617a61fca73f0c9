"""A Ray cluster and a small prior, once a session."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from repaint_batch.results.plan import Plan

from ..corpus import save_tiny_prior


@pytest.fixture(scope="session")
def ray_cluster(s3_service: object) -> Iterator[None]:
    """A local cluster, started after the S3 service so that workers inherit its credentials."""
    ray.init(
        address="local",  # not whatever cluster another test has started
        num_cpus=4,
        object_store_memory=160 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={
            "worker_process_setup_hook": "tests.pipeline.saboteur.install",
            "env_vars": {"PYTHONPATH": str(Path(__file__).parents[2])},
        },
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def tiny_prior(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of an untrained 16 px prior."""
    return save_tiny_prior(tmp_path_factory.mktemp("prior"))


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

    def update(self, rows_done: int, shards_done: int, failed: int) -> None:
        self.updates.append((rows_done, shards_done, failed))


@pytest.fixture
def recorder() -> Recorder:
    """A fresh watcher."""
    return Recorder()
