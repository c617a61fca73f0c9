"""Pictures of results rows, from wherever they are, on every backend; and only from where they may be."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from repaint_batch.config import JobConfig
from repaint_batch.jobs.plan import Plan, freeze, make_plan
from repaint_batch.manifest import open_manifest
from repaint_batch.outputs.sources import Sources
from repaint_batch.schema import IMAGE_STRUCT
from repaint_batch.table.results import ResultsTable
from repaint_batch.uris import join

from ..conftest import Place
from ..publishing import publish
from ..report.fabricated import png, result_row, results

SOURCE, MASK, OUTPUT = (png(np.full((8, 8, 3), value, np.uint8)) for value in (10, 20, 30))


def job(place: Place, rows: list[dict[str, Any]], schema: pa.Schema, **settings: Any) -> Plan:
    """Write a manifest and freeze its plan: shards of two rows."""
    uri = join(place.uri, "manifest.parquet")
    filesystem, path = place.storage.arrow(uri)
    with filesystem.open_output_stream(path) as sink, pa.parquet.ParquetWriter(sink, schema) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    config = JobConfig.model_validate(
        {
            "input": {"manifest": uri},
            "output": {"uri": join(place.uri, "out")},
            "compute": {"shard_rows": 2},
            "storage": place.config.model_dump(),
            **settings,
        }
    )
    plan = make_plan(config, open_manifest(uri, place.storage), "prior", {"sampler": "repaint"})
    return freeze(plan, config.output.uri, place.storage)


BYTES = pa.schema([("sample_id", pa.string()), ("image", IMAGE_STRUCT), ("mask", IMAGE_STRUCT)])
URIS = pa.schema([("sample_id", pa.string()), ("image", pa.string()), ("mask", pa.string())])


def row_of(plan: Plan, number: int, **values: Any) -> dict[str, Any]:
    base = {"sample_id": f"id-{number}", "job_id": plan.job_id, "shard": number // 2, "image_uri": None}
    return result_row(number, **{**base, "mask_uri": None, "output": None, "output_uri": None, **values})


def test_pictures_in_the_manifest_and_the_table(place: Place) -> None:
    given = [
        {"sample_id": f"id-{n}", "image": {"bytes": SOURCE + bytes([n])}, "mask": {"bytes": MASK}} for n in range(5)
    ]
    plan = job(place, given, BYTES)
    sources = Sources(plan.config["output"]["uri"], place.storage, [plan])
    for number in (4, 0, 3):
        assert sources(row_of(plan, number, output=OUTPUT)) == (SOURCE + bytes([number]), MASK, OUTPUT)


def test_pictures_behind_uris(place: Place) -> None:
    plan = job(place, [{"sample_id": "id-0", "image": "in/a.png", "mask": "in/b.png"}], URIS)
    out = plan.config["output"]["uri"]
    for uri, data in ((join(place.uri, "in/a.png"), SOURCE), (join(place.uri, "in/b.png"), MASK)):
        place.storage.write(uri, data)
    place.storage.write(join(out, "images/c.png"), OUTPUT)
    sources = Sources(out, place.storage, [plan])
    row = row_of(plan, 0, image_uri="in/a.png", mask_uri="in/b.png", output_uri=join(out, "images/c.png"))
    assert sources(row) == (SOURCE, MASK, OUTPUT)


def test_what_cannot_or_may_not_be_read_is_none(local_place: Place) -> None:
    place = local_place
    plan = job(place, [{"sample_id": "id-0", "image": "gone.png", "mask": "/etc/hostname"}], URIS)
    sources = Sources(plan.config["output"]["uri"], place.storage, [plan])
    outside = row_of(plan, 0, image_uri="gone.png", mask_uri="/etc/hostname", output_uri="/etc/hostname")
    assert sources(outside) == (None, None, None)
    assert sources({**outside, "job_id": "unknown"}) == (None, None, None)


def test_a_manifest_that_has_gone_is_asked_for_once(local_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place = local_place
    given = [{"sample_id": f"id-{n}", "image": {"bytes": SOURCE}, "mask": {"bytes": MASK}} for n in range(2)]
    plan = job(place, given, BYTES)
    place.storage.delete(plan.files[0].uri)
    asked: list[str] = []
    arrow = place.storage.arrow
    storage = place.storage
    monkeypatch.setattr(storage, "arrow", lambda uri: (asked.append(uri), arrow(uri))[1])
    sources = Sources(plan.config["output"]["uri"], storage, [plan])
    assert sources(row_of(plan, 0, output=OUTPUT)) == (None, None, OUTPUT)
    assert sources(row_of(plan, 1, output=OUTPUT)) == (None, None, OUTPUT)
    assert len(asked) == 1


def test_results_come_in_batches(place: Place) -> None:
    given = [{"sample_id": f"id-{n}", "image": {"bytes": SOURCE}, "mask": {"bytes": MASK}} for n in range(4)]
    plan = job(place, given, BYTES)
    table = ResultsTable(plan.config["output"]["uri"], place.storage)
    table.create([])
    for shard in range(2):
        publish(table, plan, results([row_of(plan, 2 * shard + n, output=OUTPUT) for n in range(2)]), shard)
    rows = [row for batch in table.snapshot().batches() for row in batch.to_pylist()]
    assert sorted(row["sample_id"] for row in rows) == ["id-0", "id-1", "id-2", "id-3"]
    assert {row["output"] for row in rows} == {OUTPUT}
