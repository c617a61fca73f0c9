"""An output to review, and a server that shows it."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from repaint_batch.apart import Parts
from repaint_batch.config import StorageConfig
from repaint_batch.review.desk import Desk
from repaint_batch.review.server import ReviewServer
from repaint_batch.storage import Storage
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import encoded, hole, job, rows, save_tiny_prior, write_manifest
from ..restored import restore_here


def here(function: Callable[..., Parts], *arguments: Any) -> Parts:
    """Calls a function in this process, as `repaint_batch.apart` does in another."""
    return function(*arguments)


EVIL = "it's \"</script><img src=x onerror='document.title=1'>/?#%"


@pytest.fixture(scope="session")
def restored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished output: six pictures, one more without a hole, one row that failed."""
    folder = tmp_path_factory.mktemp("review")
    place = Place(str(folder), StorageConfig())
    corpus = rows(8)
    corpus[2]["sample_id"] = corpus[2]["note"] = EVIL
    corpus[6]["mask"] = {"bytes": encoded(hole(6) * 0), "path": None}
    corpus[7]["image"] = {"bytes": b"broken", "path": None}
    prior = save_tiny_prior(folder / "prior")
    restore_here(job(place, write_manifest(place, corpus), prior))
    return folder / "out"


@pytest.fixture
def output(restored: Path, tmp_path: Path) -> str:
    """A copy of it to decide about."""
    return str(shutil.copytree(restored, tmp_path / "out"))


@pytest.fixture
def worst_first(output: str) -> list[str]:
    """Its samples in the order in which a review shows them."""
    rows = ResultsTable(output, Storage()).snapshot().read(where=[("status", "=", "ok")])
    ok = rows.sort_by([("risk", "descending"), ("seam_score", "descending")])
    return [*ok["sample_id"].to_pylist(), "picture-0006"]


@pytest.fixture
def serve() -> Iterator[Callable[[str], ReviewServer]]:
    """Starts a server for an output."""
    servers = []

    def start(output: str) -> ReviewServer:
        server = ReviewServer(Desk(output, Storage(), here))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
