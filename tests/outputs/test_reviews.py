"""Decisions: in the table once, about the picture that was looked at, and redone as asked."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest

from repaint_batch.errors import NothingToResume
from repaint_batch.outputs import reviews as module
from repaint_batch.outputs.export import export
from repaint_batch.outputs.reviews import Decision, Reviews, Verdict, count_verdicts, redos
from repaint_batch.schema import REVIEWS
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import job, rows, write_manifest
from ..restored import restore_here


def session() -> str:
    return str(uuid.uuid4())


def decide(row: dict[str, Any], verdict: Verdict, **asked: Any) -> Decision:
    return Decision(row["sample_id"], row["output_sha256"], row["attempt"], verdict, **asked)


def decision(number: int, verdict: Verdict = "accept") -> Decision:
    return Decision(f"id-{number}", f"{number:064d}", "attempt", verdict)


def found(output: str, place: Place) -> dict[str, dict[str, Any]]:
    return {row["sample_id"]: row for row in ResultsTable(output, place.storage).rows()}


def test_a_batch_sent_again_is_there_once(place: Place) -> None:
    reviews, who = Reviews(place.uri, place.storage), session()
    assert reviews.latest() == {}
    assert not reviews.exists(), "looking writes nothing"
    assert reviews.record(who, 1, [decision(1), decision(2, "reject")])
    assert not reviews.record(who, 1, [decision(1), decision(2, "reject")])
    assert reviews.record(who, 2, [decision(3)])
    assert not reviews.record(who, 1, [decision(1)]), "late, and long there"
    assert sorted((key[0], made.verdict) for key, made in reviews.latest().items()) == [
        ("id-1", "accept"), ("id-2", "reject"), ("id-3", "accept"),
    ]  # fmt: skip


def test_many_decide_at_once_while_a_job_commits(place: Place, tiny_prior: str) -> None:
    config = job(place, write_manifest(place, rows(6)), tiny_prior, compute={"shard_rows": 1, "batch_windows": 1})
    reviews = Reviews(config.output.uri, place.storage)
    sessions = [session() for _ in range(3)]
    batches = [(who, number) for who in sessions for number in (1, 2)]
    with ThreadPoolExecutor(8) as pool:
        running = pool.submit(restore_here, config)
        # Every batch goes out twice, as after an answer that was lost.
        calls = [
            pool.submit(reviews.record, who, number, [decision(number), decision(hash(who) % 10**9)])
            for who, number in batches
            for _ in range(2)
        ]
        done = [call.result() for call in calls]
        running.result()
    assert 2 * len(sessions) >= sum(done) >= len(sessions), "a late batch 1 is not taken after batch 2"
    written = deltalake.DeltaTable(reviews.uri, storage_options=place.storage.delta_options()).to_pyarrow_table()
    assert len(written) == 2 * sum(done)
    assert len(found(config.output.uri, place)) == 6


def test_the_newest_counts_even_where_a_clock_is_behind(local_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ahead(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(hours=1)

    reviews = Reviews(local_place.uri, local_place.storage)
    with monkeypatch.context() as patch:
        patch.setattr(module, "datetime", Ahead)
        reviews.record(session(), 1, [decision(1, "accept"), decision(1, "reject")])
    assert reviews.latest()["id-1", f"{1:064d}"].verdict == "reject"
    reviews.record(session(), 1, [decision(1, "accept")])
    assert reviews.latest()["id-1", f"{1:064d}"].verdict == "accept"
    reviews.record(session(), 1, [decision(1, "undecided")])
    assert reviews.latest() == {}


def test_redos_take_the_place_of_what_was_looked_at(place: Place, tiny_prior: str, tmp_path: Path) -> None:
    config = job(place, write_manifest(place, rows(5)), tiny_prior)
    restore_here(config)
    out = config.output.uri
    before = found(out, place)
    one, two, three, four, five = (before[f"picture-000{number}"] for number in range(5))
    Reviews(out, place.storage).record(
        session(),
        1,
        [
            decide(one, "accept"),
            decide(two, "redo", preset="draft", seed=7),
            decide(three, "redo", preset="fast", seed=2**40),
            decide(four, "reject"),
            decide(five, "redo", preset="fast", seed=3),
            decide(five, "accept"),
        ],
    )
    assert count_verdicts(out, place.storage) == {"accept": 2, "reject": 1, "redo": 2}
    configs = redos(out, place.storage).jobs
    again = redos(out, place.storage).jobs
    assert [made.model_dump() for made, _ in again] == [made.model_dump() for made, _ in configs], "one job, however often asked"
    assert [made.sampler.preset for made, _ in configs] == ["draft", "fast"]
    for redo, earlier in configs:
        restore_here(redo, retry_of=earlier.job_id)
    after = found(out, place)
    assert (after["picture-0001"]["seed"], after["picture-0002"]["seed"]) == (7, 2**40)
    assert after["picture-0002"]["sampler_fingerprint"] != three["sampler_fingerprint"]
    changed = {name for name in before if before[name]["output_sha256"] != after[name]["output_sha256"]}
    assert changed == {"picture-0001", "picture-0002"}
    # What was decided about the pictures that are gone says nothing about those in their place.
    assert count_verdicts(out, place.storage) == {"accept": 2, "reject": 1}
    assert redos(out, place.storage).jobs == []

    done = export(out, str(tmp_path / "plain"), place.storage, accepted=True)
    assert (done.pictures, done.not_accepted) == (2, 3)
    assert sorted(path.name for path in (tmp_path / "plain").iterdir()) == ["picture-0000.png", "picture-0004.png"]


def test_a_redo_that_gives_the_same_picture_is_done_all_the_same() -> None:
    asked = decision(1, "redo")
    row = {"sample_id": "id-1", "output_sha256": f"{1:064d}", "attempt": "attempt"}
    assert asked.holds_for(row)
    assert not asked.holds_for({**row, "attempt": "another"})
    assert decision(1, "accept").holds_for({**row, "attempt": "another"}), "the picture is the same"


def test_nothing_accepted_is_said(local_place: Place, tiny_prior: str, tmp_path: Path) -> None:
    config = job(local_place, write_manifest(local_place, rows(1)), tiny_prior)
    restore_here(config)
    with pytest.raises(NothingToResume, match="no picture is accepted yet; `repaint-batch review"):
        export(config.output.uri, str(tmp_path / "plain"), local_place.storage, accepted=True)


def test_decisions_of_an_earlier_edition_are_read_and_added_to(local_place: Place) -> None:
    reviews = Reviews(local_place.uri, local_place.storage)
    earlier = pa.schema([field for field in REVIEWS if not field.name.endswith("_sha256") or field.name == "output_sha256"])
    reviews.record(session(), 1, [decision(1)])
    written = deltalake.DeltaTable(reviews.uri).to_pyarrow_table().select(earlier.names)
    deltalake.write_deltalake(reviews.uri, written, mode="overwrite", schema_mode="overwrite")
    assert deltalake.DeltaTable(reviews.uri).schema().to_arrow().names == earlier.names
    assert [made.verdict for made in reviews.latest().values()] == ["accept"]
    corrected = replace(decision(2, "redo"), preset="fast", seed=1, image_sha256="a" * 64, mask_sha256="b" * 64)
    assert reviews.record(session(), 1, [corrected])
    assert reviews.latest()[corrected.picture] == corrected


def test_many_small_files_are_joined(local_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MANY_FILES", 6)
    reviews, who = Reviews(local_place.uri, local_place.storage), session()
    for number in range(1, 9):
        reviews.record(who, number, [decision(number)])
    reviews.tidy()
    assert len(deltalake.DeltaTable(reviews.uri).file_uris()) == 1
    assert len(reviews.latest()) == 8
    assert not reviews.record(who, 8, [decision(8)]), "joining forgets no batch"
