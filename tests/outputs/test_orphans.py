"""What nothing refers to is found, and nothing else is."""

from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import write_deltalake

from repaint_batch.config import JobConfig
from repaint_batch.jobs.plan import job_uri
from repaint_batch.outputs.orphans import Orphans, delete_orphans, find_orphans
from repaint_batch.outputs.verify import verify
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import job, rows, write_manifest
from ..restored import restore_here

ANY_AGE_S = -60.0  # the store's clock may be ahead


def objects(place: Place, config: JobConfig) -> set[str]:
    return {uri for uri, _ in place.storage.list(config.output.uri)}


def found_in(place: Place, config: JobConfig, young_s: float = ANY_AGE_S) -> Orphans:
    return find_orphans(config.output.uri, place.storage, young_s)


def leave_behind(place: Place, config: JobConfig, like: str) -> dict[str, str]:
    """Put there what attempts leave that die between writing and publishing; return kinds by URI."""
    out = config.output.uri
    data = place.storage.read(like)
    left = {f"{out}/results/part-00000-lost.parquet": "data file", f"{out}/images/lost-0123.png": "image"}
    for uri in left:
        place.storage.write(uri, data)
    return left


def a_data_file(place: Place, config: JobConfig) -> str:
    return next(uri for uri in sorted(objects(place, config)) if "/results/part-" in uri)


def test_orphans_are_found_and_deleted(place: Place, tiny_prior: str) -> None:
    config = job(place, write_manifest(place, rows(6)), tiny_prior, output={"images": "files"})
    plan = restore_here(config)
    table = ResultsTable(config.output.uri, place.storage)
    # A row superseded, so that an older version alone refers to a data file and, through it, to an image.
    old_version = table.open().version()
    (row,) = table.rows(where=[("sample_id", "=", "picture-0000")])
    table.open().delete("sample_id = 'picture-0000'")
    renewed = f"{config.output.uri}/images/renewed.png"
    place.storage.write(renewed, place.storage.read(row["output_uri"]))
    add(table, place, {**row, "output_uri": renewed})
    before = objects(place, config)
    left = leave_behind(place, config, a_data_file(place, config))
    lease = job_uri(config.output.uri, plan.job_id, "lease", "00000001.json")
    newest = job_uri(config.output.uri, plan.job_id, "lease", "00000002.json")
    half = f"{config.output.uri}/results/_delta_log/{7:020d}.json.0123456789ab.part"
    state = job_uri(config.output.uri, plan.job_id, "inflight", f"{3:012d}", "chains.safetensors")
    for uri in (lease, newest, half, state):
        place.storage.write(uri, b"{}")

    assert found_in(place, config, young_s=3600).found == (), "what is young is left alone"
    orphans = found_in(place, config)
    kinds = {orphan.uri: orphan.kind for orphan in orphans.found}
    told = {half: "data file", state: "inflight", lease: "lease"}
    assert kinds == {**left, **told}, "the newest lease says which number is next"
    assert all(orphan.size_bytes > 0 for orphan in orphans.found)
    assert objects(place, config) == before | left.keys() | {lease, newest, half, state}, "looking deletes nothing"

    delete_orphans(orphans.found, place.storage)
    assert objects(place, config) == before | {newest}
    assert found_in(place, config).found == ()
    assert verify(config.output.uri, place.storage).exit_code == 0
    table.open().restore(old_version)
    assert verify(config.output.uri, place.storage).exit_code == 0, "going back to an older version still works"


def add(table: ResultsTable, place: Place, row: dict[str, Any]) -> None:
    new = pa.Table.from_pylist([row], schema=pa.schema(table.open().schema()))
    write_deltalake(table.uri, new, mode="append", storage_options=place.storage.delta_options())


def test_versions_known_from_a_checkpoint_alone_count(local_place: Place, tiny_prior: str) -> None:
    config = job(local_place, write_manifest(local_place, rows(6)), tiny_prior, output={"images": "files"})
    restore_here(config)
    table = ResultsTable(config.output.uri, local_place.storage)
    table.open().create_checkpoint()
    last = table.open().version()
    for commit in Path(config.output.uri, "results", "_delta_log").glob("*.json"):
        if int(commit.stem) < last:
            commit.unlink()
    kinds = {orphan.kind for orphan in found_in(local_place, config).found}
    assert kinds == set(), "no data file and no image"


def test_an_unfinished_job_keeps_everything(place: Place, tiny_prior: str) -> None:
    config = job(place, write_manifest(place, rows(6)), tiny_prior, output={"images": "files"})
    plan = restore_here(config, shards=1)
    leave_behind(place, config, a_data_file(place, config))
    orphans = found_in(place, config)
    assert (orphans.found, orphans.unfinished) == ((), (plan.job_id,))


def test_an_output_that_was_moved_keeps_its_images(local_place: Place, tiny_prior: str) -> None:
    config = job(local_place, write_manifest(local_place, rows(3)), tiny_prior, output={"images": "files"})
    restore_here(config)
    moved = Path(local_place.uri, "moved")
    Path(config.output.uri).rename(moved)
    assert {orphan.kind for orphan in find_orphans(str(moved), local_place.storage, ANY_AGE_S).found} == set()
