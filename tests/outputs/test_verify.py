"""Whatever is done to an output behind its back is found, and nothing is found in one that was left alone."""

import hashlib
import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from repaint_batch.config import JobConfig
from repaint_batch.errors import NothingToResume
from repaint_batch.jobs.plan import withdraw
from repaint_batch.outputs.dead_letters import retry_configs
from repaint_batch.outputs.verify import Verification, verify
from repaint_batch.pipeline.replay import replay
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import SIZE_PX, encoded, hole, job, picture, rows, write_manifest
from ..restored import restore_here


def corpus(place: Place) -> list[dict[str, Any]]:
    """Return six rows: PNG, JPEG, one of URIs, one without a hole, two that fail."""
    found = rows(6)
    found[1]["image"] = {"bytes": encoded(picture(1), "JPEG"), "path": None}
    for name, data in (("image", encoded(picture(2))), ("mask", encoded(hole(2)))):
        place.storage.write(f"{place.uri}/pictures/{name}.png", data)
        found[2][name] = {"bytes": None, "path": f"pictures/{name}.png"}
    found[3]["mask"] = {"bytes": encoded(np.zeros((SIZE_PX, SIZE_PX), np.uint8)), "path": None}
    for number in (4, 5):
        found[number]["image"] = {"bytes": None, "path": f"late/{number}.png"}
    return found


def made(place: Place, prior: str, **sections: dict[str, Any]) -> JobConfig:
    config = job(place, write_manifest(place, corpus(place)), prior, **sections)
    restore_here(config)
    return config


def look(config: JobConfig, place: Place) -> Verification:
    return verify(config.output.uri, place.storage)


@pytest.mark.parametrize("images", ["table", "files"])
def test_an_output_left_alone_has_no_problems(place: Place, tiny_prior: str, images: str) -> None:
    config = made(place, tiny_prior, output={"images": images})
    done: list[tuple[int, int]] = []
    found = verify(config.output.uri, place.storage, lambda *shards: done.append(shards))
    assert (found.problems, found.exit_code) == ([], 0)
    assert found.rows == {"ok": 3, "skipped": 1, "failed": 2}
    assert found.compared == 4
    assert found.output_bytes == sum(row["output_bytes"] or 0 for row in ResultsTable(config.output.uri, place.storage).rows())
    assert done == [(1, 2), (2, 2)]

    place.storage.write(f"{place.uri}/late/4.png", encoded(picture(4)))
    ((retry, failed),) = retry_configs(config.output.uri, place.storage)
    restore_here(retry, retry_of=failed.job_id)
    found = look(config, place)
    assert (found.problems, found.rows) == ([], {"ok": 4, "skipped": 1, "failed": 1})


def rewritten(table: ResultsTable, place: Place, sample_id: str, **changes: Any) -> None:
    """Replace values of a row, as somebody with write access could."""
    (row,) = table.rows(where=[("sample_id", "=", sample_id)])
    delta = table.open()
    delta.delete(f"sample_id = '{sample_id}'")
    added(table, place, {**row, **changes})


def added(table: ResultsTable, place: Place, *new: dict[str, Any]) -> None:
    schema = pa.schema(table.open().schema())
    write_deltalake(table.uri, pa.Table.from_pylist(list(new), schema=schema), mode="append",
                    storage_options=place.storage.delta_options())  # fmt: skip


def hashed(data: bytes) -> dict[str, Any]:
    return {"output": data, "output_sha256": hashlib.sha256(data).hexdigest(), "output_bytes": len(data)}


def test_a_table_that_was_changed_is_found_out(local_place: Place, tiny_prior: str) -> None:
    config = made(local_place, tiny_prior)
    table = ResultsTable(config.output.uri, local_place.storage)
    good = table.open().version()
    stored = {row["sample_id"]: row for row in table.rows()}
    first, jpeg, skipped, failed = (f"picture-000{number}" for number in (0, 1, 3, 4))
    touched = np.array(picture(0))
    touched[SIZE_PX - 1, SIZE_PX - 1] ^= 1  # one step, in one known pixel
    broken = stored[first]["output"][:-20]
    faults: list[tuple[str, str, dict[str, Any]]] = [
        ("hash", first, {"output": b"x" + stored[first]["output"][1:]}),
        ("hash", first, {"output_bytes": 3}),
        ("picture", first, hashed(broken)),
        ("picture", first, {"width_px": 17}),
        ("picture", first, {"output_format": "JPEG"}),
        ("known pixels", first, hashed(encoded(touched))),
        ("known pixels", first, {"known_pixels_equal": False}),
        ("known pixels", jpeg, hashed(encoded(picture(9), "JPEG"))),
        ("known pixels", skipped, hashed(encoded(picture(9)))),
        ("hash", first, {"output": None}),
        ("row", failed, {"reason": None}),
        ("row", failed, {"output": b"1"}),
        ("row", first, {"status": "pending"}),
        ("object", first, {"output": None, "output_uri": f"{local_place.uri}/pictures/image.png"}),
        ("foreign", first, {"shard": 1}),
    ]
    for kind, sample_id, changes in faults:
        rewritten(table, local_place, sample_id, **changes)
        found = look(config, local_place)
        told = {(problem.kind, problem.sample_id) for problem in found.problems}
        assert (kind, sample_id) in told, (changes, found.problems)
        assert {about for _, about in told} == {sample_id}, "no other row is blamed"
        assert found.exit_code == 1
        table.open().restore(good)
    assert look(config, local_place).exit_code == 0

    table.open().delete(f"sample_id = '{jpeg}'")
    assert [(problem.kind, problem.sample_id) for problem in look(config, local_place).problems] == [("missing", jpeg)]
    table.open().restore(good)
    added(table, local_place, stored[first])
    assert [(problem.kind, problem.sample_id) for problem in look(config, local_place).problems] == [("duplicate", first)]
    table.open().restore(good)
    nobody = {**stored[first], "sample_id": "nobody"}
    added(table, local_place, nobody, {**nobody, "sample_id": "else", "job_id": "f" * 16})
    told = {(problem.kind, problem.sample_id) for problem in look(config, local_place).problems}
    assert told == {("foreign", "nobody"), ("foreign", None), ("foreign", "else")}


def test_files_that_were_changed_are_found_out(place: Place, tiny_prior: str) -> None:
    config = made(place, tiny_prior, output={"images": "files"})
    uris = {row["sample_id"]: row["output_uri"] for row in ResultsTable(config.output.uri, place.storage).rows()}
    place.storage.delete(uris["picture-0000"])
    place.storage.write(uris["picture-0001"], encoded(picture(1), "JPEG"))
    place.storage.write(f"{place.uri}/pictures/image.png", encoded(picture(8)))
    found = look(config, place)
    told = [(problem.kind, problem.sample_id) for problem in found.problems]
    assert told == [("object", "picture-0000"), ("hash", "picture-0001"), ("known pixels", "picture-0002")]
    place.storage.delete(f"{place.uri}/pictures/image.png")
    assert ("source", "picture-0002") in {(problem.kind, problem.sample_id) for problem in look(config, place).problems}


def removed(config: JobConfig, place: Place, at: str, sample_id: str) -> None:
    """Say, as a night does, that a row was taken out."""
    buffer = io.BytesIO()
    pq.write_table(pa.table({"sample_id": [sample_id]}), buffer)
    place.storage.write(f"{config.output.uri}/nights/{at}T000000.000000Z/removed.parquet", buffer.getvalue())


def test_rows_of_a_later_job_that_vanish_are_missed(local_place: Place, tiny_prior: str) -> None:
    config = made(local_place, tiny_prior)
    later = job(local_place, write_manifest(local_place, rows(8)[2:], "later.parquet"), tiny_prior, sampler={"seed": 3})
    restore_here(later, retry_of="the first")
    assert look(config, local_place).problems == []
    table = ResultsTable(config.output.uri, local_place.storage)
    new, again, first = (f"picture-000{number}" for number in (7, 2, 0))
    table.open().delete(f"sample_id in ('{new}', '{again}', '{first}')")

    def missed() -> list[str | None]:
        found = look(config, local_place)
        assert found.kinds.keys() <= {"missing"}
        return [problem.sample_id for problem in found.problems]

    assert missed() == [first, again, new]
    removed(config, local_place, "20250101", new)
    assert missed() == [first, again, new], "it was planned again since"
    removed(config, local_place, "29990101", new)
    removed(config, local_place, "29990102", first)
    assert missed() == [again]


def test_what_a_job_that_was_given_up_left_is_its_own(local_place: Place, tiny_prior: str) -> None:
    config = made(local_place, tiny_prior)
    later = job(local_place, write_manifest(local_place, rows(8), "later.parquet"), tiny_prior, sampler={"seed": 3})
    withdraw(restore_here(later, retry_of="the first", shards=1), config.output.uri, local_place.storage)
    assert look(config, local_place).problems == []
    assert replay(config.output.uri, "picture-0000", local_place.storage).is_equal, "its plan still says how it was made"


def test_another_manifest_is_found_out(local_place: Place, tiny_prior: str) -> None:
    config = made(local_place, tiny_prior)
    write_manifest(local_place, rows(7))
    found = look(config, local_place)
    assert found.kinds["manifest"] == 2
    assert "has changed since the job was planned" in found.problems[0].message


def test_an_unfinished_output_misses_rows(local_place: Place, tiny_prior: str) -> None:
    config = job(local_place, write_manifest(local_place, rows(6)), tiny_prior)
    with pytest.raises(NothingToResume, match="no results to verify"):
        look(config, local_place)
    restore_here(config, shards=1)
    found = look(config, local_place)
    assert {(problem.kind, problem.sample_id) for problem in found.problems} == {("missing", f"picture-000{i}") for i in (4, 5)}
