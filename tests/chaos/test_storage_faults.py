"""What is read through a store that misbehaves is what was written, or an error; never something else."""

import io
import os
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from repaint_batch.errors import ManifestError, StoreUnavailable
from repaint_batch.manifest import open_manifest, read_rows
from repaint_batch.table.reading import Snapshot
from repaint_batch.table.results import ResultsTable

from ..corpus import rows, write_manifest
from ..publishing import plan_of, publish, shard_of
from .conftest import Faulty
from .proxy import Fault

_QUICK = tuple(fault for fault in Fault if fault is not Fault.HANGING)


@pytest.mark.parametrize("kind", [Fault.FLIPPED, Fault.CUT, Fault.TRUNCATED])
def test_damage_is_noticed_in_objects_of_any_client(faulty: Faulty, kind: Fault) -> None:
    data = os.urandom(5000)
    faulty.behind.storage.write(f"{faulty.behind.uri}/ours", data)
    # As an owner's tools put them: without the checksum that this package's client sends along.
    plain = {"request_checksum_calculation": "when_required"}
    url = faulty.behind.config.endpoint_url
    owner = fsspec.filesystem("s3", endpoint_url=url, config_kwargs=plain, skip_instance_cache=True)
    owner.pipe_file(f"{faulty.behind.uri}/theirs", data)
    faulty.proxy.kinds, faulty.proxy.rate, faulty.proxy.seed = (kind,), 0.6, 1
    for name in ("ours", "theirs"):
        for _ in range(5):
            assert faulty.place.storage.read(f"{faulty.place.uri}/{name}") == data
    assert faulty.proxy.faults[kind] > 5
    faulty.proxy.rate = 1
    with pytest.raises(StoreUnavailable, match="read failed"):
        faulty.place.storage.read(f"{faulty.place.uri}/ours")


def test_uploads_arrive_as_they_were_sent_or_not_at_all(faulty: Faulty) -> None:
    faulty.proxy.kinds, faulty.proxy.rate = (Fault.FLIPPED, Fault.LOST, Fault.RESET), 0.5
    sent = {f"{faulty.place.uri}/{number}": os.urandom(3000) for number in range(20)}
    for uri, data in sent.items():
        faulty.place.storage.write(uri, data)
    created = f"{faulty.place.uri}/created"
    faulty.place.storage.create(created, b"once")
    assert all(faulty.behind.storage.read(uri) == data for uri, data in sent.items())
    assert faulty.behind.storage.read(created) == b"once"
    assert faulty.proxy.faults[Fault.FLIPPED] > 1
    assert faulty.proxy.faults[Fault.LOST] > 1


@pytest.mark.parametrize("seed", [1, 2])
def test_rows_of_a_manifest_come_whole(faulty: Faulty, seed: int) -> None:
    manifest_rows = rows(40)
    uri = write_manifest(faulty.behind, manifest_rows)
    manifest = open_manifest(uri, faulty.behind.storage)
    faulty.proxy.kinds, faulty.proxy.rate, faulty.proxy.seed = _QUICK, 0.3, seed
    storage = faulty.place.storage
    assert open_manifest(uri, storage) == manifest
    ranges = [(start, start + 8) for start in range(0, 40, 8)]
    with ThreadPoolExecutor(4) as pool:
        found = pa.concat_tables(pool.map(lambda span: read_rows(manifest.files, *span, storage), ranges)).to_pylist()
    assert found == manifest_rows
    assert faulty.proxy.harmed > 5


def test_commits_arrive_as_they_were_sent_or_not_at_all(faulty: Faulty) -> None:
    plan = plan_of(faulty.behind, rows=40, shard_rows=4)
    stored = ResultsTable(faulty.behind.uri, faulty.behind.storage)
    stored.create([])
    table = ResultsTable(faulty.place.uri, faulty.place.storage)
    faulty.proxy.kinds, faulty.proxy.methods, faulty.proxy.rate = (Fault.FLIPPED,), ("PUT",), 0.5
    for shard in range(plan.shards):
        assert publish(table, plan, shard_of(plan, shard, "first"))
    assert faulty.proxy.faults[Fault.FLIPPED] > 5
    wanted = pa.concat_tables(shard_of(plan, shard, "first") for shard in range(plan.shards))
    assert list(stored.rows()) == wanted.sort_by("sample_id").to_pylist()


@pytest.mark.parametrize("seed", [1, 2])
def test_what_a_table_says_is_what_was_committed(faulty: Faulty, seed: int) -> None:
    plan = plan_of(faulty.behind, rows=40, shard_rows=4)
    written = ResultsTable(faulty.behind.uri, faulty.behind.storage)
    written.create([])
    for shard in range(plan.shards):
        publish(written, plan, shard_of(plan, shard, "first"))
    wanted = list(written.rows())
    found = Snapshot(written.open(), written.uri.replace(faulty.behind.uri, faulty.place.uri), faulty.place.storage)
    faulty.proxy.kinds, faulty.proxy.rate, faulty.proxy.seed = (Fault.FLIPPED, Fault.CUT), 0.2, seed
    for _ in range(2):
        assert found.read().sort_by("sample_id").to_pylist() == wanted
        assert found.count_by("attempt") == {("first",): 40}
    assert faulty.proxy.harmed > 5


def test_a_manifest_that_rotted_is_refused(faulty: Faulty) -> None:
    buffer = io.BytesIO()
    table = pa.table({"sample_id": ["a"], "image": ["x" * 100], "mask": ["m.png"]})
    pq.write_table(table, buffer, write_page_checksum=True, compression="none", use_dictionary=False, write_statistics=False)
    rotten = buffer.getvalue().replace(b"x" * 100, b"x" * 99 + b"y", 1)
    uri = f"{faulty.behind.uri}/rotten.parquet"
    faulty.behind.storage.write(uri, rotten)
    with pytest.raises(ManifestError, match=r"(?i)crc"):
        open_manifest(uri, faulty.behind.storage)
