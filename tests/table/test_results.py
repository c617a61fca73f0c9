"""A job's rows in the table, once each, on every backend; and what is told of them."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from repaint_batch.errors import ConfigError, NothingToResume
from repaint_batch.jobs.plan import freeze, load_plans
from repaint_batch.outputs.history import rollback
from repaint_batch.outputs.status import OutputStatus, StatusFeed, read_status
from repaint_batch.schema import RESULTS, RISK
from repaint_batch.storage import Storage
from repaint_batch.table.results import CommitFeed, ResultsTable

from ..chaos.conftest import Faulty, faulty
from ..chaos.proxy import Exchange
from ..conftest import Place
from ..publishing import empty_table, plan_of, publish, shard_of

__all__ = ["faulty"]  # a fixture


def test_a_shard_is_committed_once(place: Place) -> None:
    table, plan = empty_table(place), plan_of(place)
    feed = CommitFeed(table, plan)
    assert publish(table, plan, shard_of(plan, 0, "first"))
    assert not publish(table, plan, shard_of(plan, 0, "second"))
    assert publish(table, plan, shard_of(plan, 2, status="failed"))
    assert table.committed(plan) == {0, 2}
    assert {row["attempt"] for row in table.rows(where=[("shard", "=", 0)])} == {"first"}
    assert table.counts() == {"ok": 4, "skipped": 0, "failed": 2}
    feed.poll()
    assert (set(feed.shards), feed.rows, feed.failed, feed.nfe) == ({0, 2}, 6, 2, 18)


class Careless(Storage):
    """A store that overwrites where it was told to create, as some that speak S3 do."""

    def create(self, uri: str, data: bytes) -> bool:
        self.write(uri, data)
        return True


def test_a_store_without_conditional_writes_is_refused(local_place: Place) -> None:
    with pytest.raises(ConfigError, match=r"output.uri: the store of .* ignores conditional writes"):
        freeze(plan_of(local_place), local_place.uri, Careless())
    assert load_plans(local_place.uri, local_place.storage) == []


def test_a_table_of_an_earlier_edition_is_told_of(local_place: Place) -> None:
    table = ResultsTable(local_place.uri, local_place.storage)
    DeltaTable.create(table.uri, schema=pa.schema([field for field in RESULTS if field.name not in ("dropped", "row", *RISK)]))
    with pytest.raises(ConfigError, match="earlier edition: it has no column 'dropped'; look at them with the edition that"):
        list(table.rows(["sample_id", "dropped"]))
    assert list(table.rows(["risk", "sample_id"])) == []
    table.create([])
    assert list(table.rows(["sample_id", "dropped"])) == []


def test_of_racing_writers_one_wins(place: Place) -> None:
    table, plan = empty_table(place), plan_of(place)
    for shard in range(plan.shards):
        with ThreadPoolExecutor(6) as pool:
            won = list(pool.map(lambda i, s=shard: publish(table, plan, shard_of(plan, s, f"writer-{i}")), range(6)))
        assert won.count(True) == 1
        (attempt,) = {row["attempt"] for row in table.rows(where=[("shard", "=", shard)])}
        assert attempt == f"writer-{won.index(True)}"
    assert sum(table.counts().values()) == plan.rows


def test_different_shards_commit_at_the_same_time(place: Place) -> None:
    table, plan = empty_table(place), plan_of(place, rows=24, shard_rows=2)
    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(lambda shard: publish(table, plan, shard_of(plan, shard)), range(plan.shards)))
    assert table.committed(plan) == set(range(12))


def test_an_upsert_replaces_rows_and_keeps_shards_committed(place: Place) -> None:
    table, plan = empty_table(place), plan_of(place)
    for shard in range(plan.shards):
        publish(table, plan, shard_of(plan, shard, status="failed"))
    retry = replace(plan_of(place, rows=4), mode="upsert", job_id="f" * 16)
    assert publish(table, retry, shard_of(retry, 0))
    assert not publish(table, retry, shard_of(retry, 0))
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


def test_a_setting_that_is_none_any_more_is_no_difference(local_place: Place) -> None:
    plan = plan_of(local_place)
    images = {**plan.config["images"], "context": 0.125}
    freeze(replace(plan, config={**plan.config, "images": images}), local_place.uri, local_place.storage)
    (old,) = load_plans(local_place.uri, local_place.storage)
    assert old.job_config == plan.job_config
    with pytest.raises(ConfigError, match=r"\(differs in: sampler\)"):
        freeze(plan_of(local_place, sampler={"seed": 1}), local_place.uri, local_place.storage)


def test_status_reconciles(place: Place) -> None:
    with pytest.raises(NothingToResume, match="no job was ever planned there"):
        read_status(place.uri, place.storage)
    plan = freeze(plan_of(place), place.uri, place.storage)
    status = read_status(place.uri, place.storage)
    assert (status.rows, status.missing, status.exit_code) == (10, 10, 1)
    table = empty_table(place)
    publish(table, plan, shard_of(plan, 0))
    publish(table, plan, shard_of(plan, 1, status="failed"))
    status = read_status(place.uri, place.storage)
    assert (status.ok, status.failed, status.missing, status.exit_code) == (4, 4, 2, 1)
    publish(table, plan, shard_of(plan, 2, status="skipped"))
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


def test_status_is_followed_by_what_is_new(place: Place) -> None:
    plan = freeze(plan_of(place), place.uri, place.storage)
    feed = StatusFeed(place.uri, place.storage)
    table = empty_table(place)

    def agrees() -> OutputStatus:
        status = feed.poll()
        assert status == read_status(place.uri, place.storage)
        return status

    assert agrees().missing == 10
    publish(table, plan, shard_of(plan, 0))
    publish(table, plan, shard_of(plan, 1, status="failed"))
    assert agrees().failed == 4
    retry = replace(plan_of(place, rows=4), mode="upsert", job_id="f" * 16, retry_of=plan.job_id, created_at="2999")
    freeze(retry, place.uri, place.storage)
    publish(table, retry, shard_of(retry, 0, status="skipped"))
    assert (agrees().skipped, len(agrees().jobs)) == (4, 2)
    publish(table, plan, shard_of(plan, 2))
    assert agrees().exit_code == 3
    rollback(place.uri, 2, place.storage)
    status = agrees()
    assert (status.ok, status.failed, status.missing, len(status.jobs)) == (4, 4, 2, 1)


def test_looking_again_is_one_request(faulty: Faulty) -> None:
    """Whatever the number of jobs and of versions; and what is new is read, and nothing else."""
    plan = freeze(plan_of(faulty.behind), faulty.behind.uri, faulty.behind.storage)
    table = empty_table(faulty.behind)
    publish(table, plan, shard_of(plan, 0))
    status = StatusFeed(faulty.place.uri, faulty.place.storage)
    feed = CommitFeed(ResultsTable(faulty.place.uri, faulty.place.storage), plan)
    asked: list[Exchange] = []
    faulty.proxy.watch = lambda exchange: bool(asked.append(exchange)) if not exchange.performed else False
    for new in (0, 1, 0, 1):
        if new:
            publish(table, plan, shard_of(plan, feed.shards.spans[0][1]))
        for look in (status.poll, feed.poll):
            asked.clear()
            look()
            assert len(asked) == new + 1, [exchange.path for exchange in asked]
    assert status.status.missing == 10 - feed.rows == 0
