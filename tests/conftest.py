"""Fixtures that several rooms share: places to keep objects, a small prior, corpora, a Ray cluster."""

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from repaint_batch.config import StorageConfig
from repaint_batch.storage import Storage

from .browser import chromium, open_page
from .seaweed import S3Service, run_seaweed

__all__ = ["chromium", "open_page"]  # fixtures

# One thread a test: the machine's cores are shared by workers, and results do not depend on it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

_LONGEST = ("chaos", "scripts", "nights", "pipeline", "test_readme.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files whose tests take minutes: one that began last would be waited for by an idle core."""
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.relative_to(here).parts[0] not in _LONGEST)


@dataclass(frozen=True)
class Place:
    """Somewhere that a job's files can live.

    Attributes:
        uri: a fresh folder or prefix.
        config: how to reach it.
    """

    uri: str
    config: StorageConfig

    @property
    def storage(self) -> Storage:
        """A client."""
        return Storage(self.config)


@pytest.fixture(scope="session")
def s3_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Service]:
    """SeaweedFS on loopback; its credentials are in the environment while it runs."""
    with run_seaweed(tmp_path_factory.mktemp("seaweed")) as service, pytest.MonkeyPatch.context() as patch:
        for name, value in service.environment().items():
            patch.setenv(name, value)
        yield service


@pytest.fixture
def local_place(tmp_path: Path) -> Place:
    """A folder."""
    return Place(str(tmp_path), StorageConfig())


@pytest.fixture
def s3_place(s3_service: S3Service) -> Place:
    """A bucket of its own on the S3 service."""
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    s3_service.filesystem().mkdir(bucket)
    return Place(f"s3://{bucket}/corpus", StorageConfig(endpoint_url=s3_service.endpoint_url, region="us-east-1"))


@pytest.fixture(scope="session")
def moto_service() -> Iterator[S3Service]:
    """A second S3 dialect, whose refusals are worded as AWS's are; it keeps everything in memory."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield S3Service(f"http://{host}:{port}")
    server.stop()


@pytest.fixture
def moto_place(s3_service: S3Service, moto_service: S3Service) -> Place:
    """A bucket on moto; it takes any credentials, so those of the other service do."""
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    moto_service.filesystem().mkdir(bucket)
    return Place(f"s3://{bucket}/corpus", StorageConfig(endpoint_url=moto_service.endpoint_url, region="us-east-1"))


OTHER = ["other"] if "REPAINT_BATCH_TEST_S3" in os.environ else []
"""A store of your own, by the URL in that variable and the credentials in the environment, for what is asked of every store."""


@pytest.fixture
def other_place() -> Place:
    """A bucket of its own on it."""
    url, bucket = os.environ["REPAINT_BATCH_TEST_S3"], f"test-{uuid.uuid4().hex[:12]}"
    S3Service(url, os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]).filesystem().mkdir(bucket)
    return Place(f"s3://{bucket}/corpus", StorageConfig(endpoint_url=url, region="us-east-1"))


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest) -> Place:
    """Each backend in turn: whatever is asserted with it is the same contract on both."""
    found: Place = request.getfixturevalue(f"{request.param}_place")
    return found


@pytest.fixture(scope="session")
def tiny_prior(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of an untrained 16 px prior."""
    from .corpus import save_tiny_prior  # and torch, which most tests of a room can do without

    return save_tiny_prior(tmp_path_factory.mktemp("prior"))


@pytest.fixture(scope="session")
def ray_cluster(s3_service: object) -> Iterator[None]:
    """A local cluster, started after the S3 service so that workers inherit its credentials."""
    import ray

    ray.init(
        "local",  # without it Ray would join whatever cluster it finds on this machine
        num_cpus=4,
        num_gpus=2,  # for who asks for them; there are none
        object_store_memory=160 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={
            "worker_process_setup_hook": "tests.pipeline.saboteur.install",
            "env_vars": {"PYTHONPATH": str(Path(__file__).parents[1])},
        },
    )
    yield
    ray.shutdown()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of golden cases; it stands here because only this file is loaded where tests run on workers."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    called = [report for report in reports if getattr(report, "when", "") == "call"]
    rows = [value for report in called for name, value in report.user_properties if name == "golden"]
    if rows:
        terminalreporter.section("golden vectors")
        terminalreporter.write_line(f"{'case':<44}{'tolerance':>12}{'largest difference':>22}")
        for case, tolerance, difference in sorted(rows):
            terminalreporter.write_line(f"{case:<44}{tolerance:>12.0e}{difference:>22.2e}")
