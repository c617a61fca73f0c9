"""One transaction a shard, on every backend, whoever races for it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from repaint_batch.config import JobConfig
from repaint_batch.errors import ConfigError, NothingToResume
from repaint_batch.manifest import Manifest, ManifestFile
from repaint_batch.results.plan import Plan, freeze, load_plans, make_plan
from repaint_batch.results.status import read_status
from repaint_batch.results.table import CommitFeed, ResultsTable
from repaint_batch.schema import RESULTS

from ..conftest import Place


def plan_of(place: Place, rows: int = 10, shard_rows: int = 4, **sections: Any) -> Plan:
    values = {"input": {"manifest": "m.parquet"}, "output": {"uri": place.uri}, "compute": {"shard_rows": shard_rows}}
    config = JobConfig.model_validate({**values, **sections})
    manifest = Manifest(place.uri, (ManifestFile("m.parquet", rows, "0" * 64),), pa.schema([]), f"{rows:016x}")
    return make_plan(config, manifest, "prior", {"sampler": "repaint"})


def shard_rows(plan: Plan, shard: int, attempt: str = "a", status: str = "ok") -> pa.Table:
    start, stop = plan.shard_range(shard)
    rows = [
        {
            "sample_id": f"id-{row}",
            "status": status,
            "job_id": plan.job_id,
            "shard": shard,
            "row": row,
            "attempt": attempt,
            "nfe": 3,
            "output": b"\x89" * 50,
        }
        for row in range(start, stop)
    ]
    return pa.Table.from_pylist(rows, schema=RESULTS)


def made(place: Place) -> ResultsTable:
    table = ResultsTable(place.uri, place.storage)
    table.create([])
    return table


def test_a_shard_is_committed_once(place: Place) -> None:
    table, plan = made(place), plan_of(place)
    feed = CommitFeed(table, plan)
    assert table.commit(plan, 0, shard_rows(plan, 0, "first"))
    assert not table.commit(plan, 0, shard_rows(plan, 0, "second"))
    assert table.commit(plan, 2, shard_rows(plan, 2, status="failed"))
    assert table.committed(plan) == {0, 2}
    assert {row["attempt"] for row in table.rows(where=[("shard", "=", 0)])} == {"first"}
    assert table.counts() == {"ok": 4, "skipped": 0, "failed": 2}
    feed.poll()
    assert (set(feed.shards), feed.rows, feed.failed, feed.nfe) == ({0, 2}, 6, 2, 18)


def test_of_racing_writers_one_wins(place: Place) -> None:
    table, plan = made(place), plan_of(place)
    for shard in range(plan.shards):
        with ThreadPoolExecutor(6) as pool:
            won = list(pool.map(lambda i, s=shard: table.commit(plan, s, shard_rows(plan, s, f"writer-{i}")), range(6)))
        assert won.count(True) == 1
        (attempt,) = {row["attempt"] for row in table.rows(where=[("shard", "=", shard)])}
        assert attempt == f"writer-{won.index(True)}"
    assert sum(table.counts().values()) == plan.rows


def test_different_shards_commit_at_the_same_time(place: Place) -> None:
    table, plan = made(place), plan_of(place, rows=24, shard_rows=2)
    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(lambda shard: table.commit(plan, shard, shard_rows(plan, shard)), range(plan.shards)))
    assert table.committed(plan) == set(range(12))


def test_an_upsert_replaces_rows_and_keeps_shards_committed(place: Place) -> None:
    table, plan = made(place), plan_of(place)
    for shard in range(plan.shards):
        table.commit(plan, shard, shard_rows(plan, shard, status="failed"))
    retry = replace(plan_of(place, rows=4), mode="upsert", job_id="f" * 16)
    assert table.commit(retry, 0, shard_rows(retry, 0))
    assert not table.commit(retry, 0, shard_rows(retry, 0))
    assert table.counts() == {"ok": 4, "skipped": 0, "failed": 6}
    assert table.committed(retry) == {0}
    assert table.committed(plan) == {0, 1, 2}, "superseded rows do not make a shard pending again"


def test_the_first_plan_holds(place: Place) -> None:
    first = freeze(plan_of(place), place.uri, place.storage)
    again = freeze(plan_of(place, shard_rows=2), place.uri, place.storage)
    assert again.shards == first.shards == 3
    assert load_plans(place.uri, place.storage) == [first]
    with pytest.raises(ConfigError, match=r"already holds job .*\(differs in: sampler\)"):
        freeze(plan_of(place, sampler={"seed": 1}), place.uri, place.storage)
    other = replace(plan_of(place, compute={"precision": "bfloat16", "compile": True}), prior_fingerprint="in bfloat16")
    with pytest.raises(ConfigError, match=r"\(differs in: compute.precision, compute.compile\)"):
        freeze(other, place.uri, place.storage)


def test_status_reconciles(place: Place) -> None:
    with pytest.raises(NothingToResume, match="no job was ever planned there"):
        read_status(place.uri, place.storage)
    plan = freeze(plan_of(place), place.uri, place.storage)
    status = read_status(place.uri, place.storage)
    assert (status.rows, status.missing, status.exit_code) == (10, 10, 1)
    table = made(place)
    table.commit(plan, 0, shard_rows(plan, 0))
    table.commit(plan, 1, shard_rows(plan, 1, status="failed"))
    status = read_status(place.uri, place.storage)
    assert (status.ok, status.failed, status.missing, status.exit_code) == (4, 4, 2, 1)
    table.commit(plan, 2, shard_rows(plan, 2, status="skipped"))
    status = read_status(place.uri, place.storage)
    assert (status.ok, status.skipped, status.failed, status.missing, status.exit_code) == (4, 2, 4, 0, 3)


@pytest.mark.parametrize(
    ("section", "values", "same"),
    [
        ("compute", {"actors": 5, "shard_rows": 9}, True),
        ("storage", {"region": "eu-central-1"}, True),
        ("compute", {"batch_windows": 3}, False),
        ("compute", {"precision": "bfloat16"}, False),
        ("sampler", {"seed": 3}, False),
        ("images", {"hole": "black"}, False),
        ("output", {"uri": "elsewhere", "format": "png"}, False),
        ("prior", {"source": "x", "class_label": 1}, False),
    ],
)
def test_a_job_is_what_decides_its_results(local_place: Place, section: str, values: dict[str, Any], same: bool) -> None:
    assert (plan_of(local_place).job_id == plan_of(local_place, **{section: values}).job_id) is same
