"""A store over TLS whose certificate an authority of the operator's own has signed: one variable, or one clear line."""

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..conftest import Place
from ..seaweed import S3Service
from .proxy import FaultyProxy

_OWN = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_COMMIT = """
import sys
from repaint_batch.config import StorageConfig
from repaint_batch.errors import RepaintBatchError
from repaint_batch.table.results import ResultsTable
from tests.conftest import Place
from tests.publishing import plan_of, publish, shard_of

place = Place(sys.argv[1], StorageConfig(endpoint_url=sys.argv[2], region="us-east-1"))
try:
    place.storage.write(f"{place.uri}/object", b"data")
    plan, table = plan_of(place, rows=2, shard_rows=2), ResultsTable(place.uri, place.storage)
    table.create([])
    assert publish(table, plan, shard_of(plan, 0, "first"))
    print(len(list(table.rows())), "rows")
except RepaintBatchError as error:
    print(type(error).__name__, error)
"""


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the certificates of two authorities, `right.pem` and `wrong.pem`, and `store.pem`, signed by the first."""
    folder = tmp_path_factory.mktemp("authorities")
    for name in ("right", "wrong"):
        words = ("-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}")
        _openssl(folder, "req", "-x509", *_OWN, *words)
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    _openssl(folder, "req", *_OWN, "-keyout", "store.key", "-out", "store.csr", "-subj", "/CN=store")
    signed = (
        "-CA",
        "right.pem",
        "-CAkey",
        "right.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "names",
        "-out",
        "store.pem",
    )
    _openssl(folder, "x509", "-req", "-in", "store.csr", *signed)
    return folder


@pytest.fixture
def url(authorities: Path, s3_service: S3Service) -> Iterator[str]:
    """The store behind TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authorities / "store.pem", authorities / "store.key")
    with FaultyProxy(s3_service.endpoint_url, tls=context) as proxy:
        yield proxy.url


def committed(uri: str, url: str, **trusted: Path) -> str:
    """Return what is said where a process of its own writes an object and commits rows; it trusts these and nobody else."""
    kept = {name: value for name, value in os.environ.items() if name not in ("AWS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")}
    environment = kept | {name: str(path) for name, path in trusted.items()}
    done = subprocess.run(
        [sys.executable, "-c", _COMMIT, uri, url], env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_one_variable_names_the_authority(url: str, s3_place: Place, authorities: Path) -> None:
    assert committed(s3_place.uri, url, AWS_CA_BUNDLE=authorities / "right.pem") == "2 rows\n"


@pytest.mark.parametrize(("objects", "table"), [("wrong", "right"), pytest.param("right", "wrong", marks=pytest.mark.slow)])
def test_another_authority_is_one_clear_line(url: str, s3_place: Place, authorities: Path, objects: str, table: str) -> None:
    trusted = {"AWS_CA_BUNDLE": authorities / f"{objects}.pem", "SSL_CERT_FILE": authorities / f"{table}.pem"}
    said = committed(s3_place.uri, url, **trusted)
    assert said.startswith("StoreUnavailable ")
    assert f"{url} has a certificate that is not trusted here, and 5 s of patience are over" in said
    assert "name the file with its authority's certificate in AWS_CA_BUNDLE and SSL_CERT_FILE, on every node" in said
