"""Commits whose writers die at every step, and commits that race: one set of rows is seen, whatever happens."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from repaint_batch.jobs.plan import freeze
from repaint_batch.outputs.orphans import delete_orphans, find_orphans
from repaint_batch.table.results import ResultsTable

from ..conftest import OTHER, Place
from ..publishing import plan_of, publish, shard_of
from .conftest import Faulty
from .processes import kill
from .proxy import Exchange
from .writers import writer_of

WRITERS = 8
_ANY_AGE_S = -60.0  # the store's clock may be ahead


def attempts_seen(table: ResultsTable, shard: int) -> list[str]:
    return [row["attempt"] for row in table.rows(("attempt",), [("shard", "=", shard)])]


@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_a_writer_killed_at_any_step_publishes_once(faulty: Faulty, tmp_path: Path, mode: str) -> None:
    """Every request that writes is two steps: its writer dies before it is performed, or before it is told."""
    plan = replace(plan_of(faulty.place, rows=60, shard_rows=3), mode=mode)
    table = ResultsTable(faulty.behind.uri, faulty.behind.storage)
    table.create([])
    if mode == "upsert":
        assert publish(table, replace(plan, mode="append", job_id="0" * 16), shard_of(plan, 0, "before"))
    exchanges: list[Exchange] = []
    died_at: list[str] = []
    for shard in range(plan.shards):
        step = len(died_at)
        exchanges.clear()
        said = tmp_path / f"{shard}"
        writer = writer_of(faulty.place.uri, faulty.place.storage, plan, shard, "first", said)

        def watch(exchange: Exchange, step: int = step, writer: ForkServerProcess = writer) -> bool:
            if exchange.method in ("GET", "HEAD"):
                return False
            exchanges.append(exchange)
            return len(exchanges) == step + 1 and kill(writer.pid or 0)

        faulty.proxy.watch = watch
        writer.start()
        writer.join(60)
        faulty.proxy.watch = lambda exchange: False
        landed = set(attempts_seen(table, shard)) == {"first"}
        again = publish(table, plan, shard_of(plan, shard, "second"))
        assert again != landed, f"the second attempt must publish if and only if the first, killed at step {step}, had not"
        assert attempts_seen(table, shard) == [("first" if landed else "second")] * 3
        if said.exists():
            break
        died_at.append(f"{exchanges[-1].method} {'after' if exchanges[-1].performed else 'before'}")
    assert said.exists(), "the last writer got through without being killed"
    print(f"{mode}: killed at {len(died_at)} steps: {Counter(died_at)}")
    # What the dead have put there and nobody has published is found and may go; every row is still there.
    freeze(replace(plan, rows=3 * (shard + 1)), faulty.behind.uri, faulty.behind.storage)
    orphans = find_orphans(faulty.behind.uri, faulty.behind.storage, _ANY_AGE_S).found
    assert {orphan.kind for orphan in orphans} == {"data file"}
    delete_orphans(orphans, faulty.behind.storage)
    assert [len(attempts_seen(table, number)) for number in range(shard + 1)] == [3] * (shard + 1)
    assert Counter(died_at)["PUT before"] == Counter(died_at)["PUT after"] >= 2, "data object and log entry"


def test_of_processes_that_race_one_wins(faulty: Faulty, tmp_path: Path) -> None:
    plan = plan_of(faulty.behind, rows=4, shard_rows=2)
    table = ResultsTable(faulty.behind.uri, faulty.behind.storage)
    table.create([])
    for shard in range(plan.shards):
        said = [tmp_path / f"{shard}-{number}" for number in range(WRITERS)]
        racing = [
            writer_of(faulty.behind.uri, faulty.behind.storage, plan, shard, f"writer-{number}", said[number])
            for number in range(WRITERS)
        ]
        for process in racing:
            process.start()
        for process in racing:
            process.join(120)
        (winner,) = [number for number in range(WRITERS) if said[number].read_text() == "True"]
        assert attempts_seen(table, shard) == [f"writer-{winner}"] * 2


def race(place: Place, rounds: int) -> Counter[str]:
    """Let writers race for one shard after the other of a fresh table; return how often each won."""
    plan = plan_of(place, rows=rounds, shard_rows=1)
    made = ResultsTable(place.uri, place.storage)
    made.create([])
    tables = [ResultsTable(place.uri, place.storage) for _ in range(WRITERS)]

    def write(shard: int, number: int) -> bool:
        return publish(tables[number], plan, shard_of(plan, shard, f"writer-{number}"))

    winners = []
    with ThreadPoolExecutor(WRITERS) as pool:
        for shard in range(rounds):
            won = list(pool.map(lambda number, shard=shard: write(shard, number), range(WRITERS)))
            assert won.count(True) == 1, f"round {shard}: {won}"
            winners.append(f"writer-{won.index(True)}")
    seen = made.snapshot().read(["shard", "attempt"]).sort_by("shard").to_pylist()
    assert seen == [{"shard": shard, "attempt": winner} for shard, winner in enumerate(winners)]
    return Counter(winners)


@pytest.mark.parametrize("store", ["s3", "moto", *OTHER])
def test_some_races(request: pytest.FixtureRequest, store: str) -> None:
    print(race(request.getfixturevalue(f"{store}_place"), 10 if store == "s3" else 3))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_thousand_races(s3_place: Place) -> None:
    winners: Counter[str] = Counter()
    for number in range(40):  # tables whose logs stay short: what is tested is the race
        winners += race(replace(s3_place, uri=f"{s3_place.uri}/{number}"), 25)
        print(f"{winners.total()} rounds of {WRITERS} writers, one winner each: {dict(winners)}", flush=True)
    assert winners.total() == 1000
