"""Back to an earlier version, and forth again: rows, bytes, and what is pending are what they were."""

from pathlib import Path
from typing import Any

import pytest

from repaint_batch.config import JobConfig
from repaint_batch.errors import ConfigError, LeaseHeld, NothingToResume
from repaint_batch.jobs.lease import Lease
from repaint_batch.jobs.plan import load_plans
from repaint_batch.outputs.history import read_history, rollback
from repaint_batch.outputs.orphans import delete_orphans, find_orphans
from repaint_batch.outputs.status import read_status
from repaint_batch.outputs.verify import verify
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import job, rows, write_manifest
from ..restored import restore_here


def served(config: JobConfig, place: Place) -> dict[str, Any]:
    """Return the bytes that readers get, by sample."""
    table = ResultsTable(config.output.uri, place.storage)
    return {
        row["sample_id"]: place.storage.read(row["output_uri"]) if row["output_uri"] else row["output"]
        for row in table.rows(("sample_id", "output", "output_uri"))
    }


def files(config: JobConfig, place: Place) -> dict[str, Any]:
    """Return when the output's picture files were written, by URI."""
    return {uri: info["modified"] for uri, info in place.storage.list(f"{config.output.uri}/images")}


def redone(place: Place, config: JobConfig, count: int = 4, **sections: Any) -> JobConfig:
    """Restore the first rows again, with other noise, as a later job of the same output."""
    again = job(place, write_manifest(place, rows(count), "again.parquet"), config.prior.source,
                output=config.output.model_dump(), sampler={"seed": 7}, **sections)  # fmt: skip
    restore_here(again, retry_of="the first")
    return again


def test_there_and_back(place: Place, tiny_prior: str) -> None:
    config = job(place, write_manifest(place, rows(6)), tiny_prior, output={"images": "files"})
    output, storage = config.output.uri, place.storage
    first = restore_here(config)
    good, version = served(config, place), ResultsTable(output, storage).open().version()
    again = redone(place, config)
    bad, bad_version = served(config, place), ResultsTable(output, storage).open().version()
    assert {name for name in good if good[name] != bad[name]} == {f"picture-{k:04d}" for k in range(4)}

    # What is tidied away in between is not what the way back needs.
    delete_orphans(find_orphans(output, storage, -60).found, storage)
    done = rollback(output, version, storage)
    assert served(config, place) == good
    assert (done.counts["ok"], len(done.withdrawn), done.reinstated) == (6, 1, ())
    assert [plan.job_id for plan in load_plans(output, storage)] == [first.job_id]
    assert read_status(output, storage).exit_code == 0
    assert verify(output, storage).exit_code == 0

    forth = rollback(output, bad_version, storage)
    assert served(config, place) == bad
    assert forth.reinstated == done.withdrawn
    assert read_status(output, storage).exit_code == 0

    rollback(output, version, storage)
    before = files(config, place)
    restore_here(again, retry_of="the first")
    assert served(config, place) == bad, "what was rolled back can be done again"
    assert files(config, place).items() > before.items(), "nothing is written over"
    assert len(files(config, place)) == len(before) + 4
    kinds = [(change.what, change.to) for change in read_history(output, storage)]
    assert kinds == [("created", None), ("job", None), ("job", None), *[("rollback", k) for k in (2, 3, 2)], ("job", None)]


def test_a_job_cut_in_half_goes_on_from_there(local_place: Place, tiny_prior: str) -> None:
    config = job(local_place, write_manifest(local_place, rows(8)), tiny_prior)
    output, storage = config.output.uri, local_place.storage
    plan = restore_here(config)
    whole = served(config, local_place)
    done = rollback(output, 1, storage)
    assert (done.counts["ok"], done.withdrawn) == (4, ())
    status = read_status(output, storage)
    assert (status.missing, status.exit_code) == (4, 1)
    assert len(ResultsTable(output, storage).committed(plan)) == 1
    restore_here(config)
    assert read_status(output, storage).exit_code == 0
    assert served(config, local_place) == whole


def test_a_job_that_was_stopped_and_went_on_is_two_changes(local_place: Place, tiny_prior: str) -> None:
    config = job(local_place, write_manifest(local_place, rows(8)), tiny_prior)
    restore_here(config, shards=1, epoch=1)
    restore_here(config, epoch=2)
    changes = read_history(config.output.uri, local_place.storage)
    assert [(change.what, change.rows) for change in changes] == [("created", 0), ("job", 4), ("job", 4)]


def test_a_version_whose_files_are_gone_is_refused(local_place: Place, tiny_prior: str) -> None:
    config = job(local_place, write_manifest(local_place, rows(6)), tiny_prior, output={"images": "files"})
    restore_here(config)
    redone(local_place, config)
    before = served(config, local_place)
    old = ResultsTable(config.output.uri, local_place.storage).snapshot(2).read().sort_by("sample_id")
    Path(old["output_uri"][0].as_py()).unlink()
    with pytest.raises(ConfigError, match=r"--to 2: 1 of its files are gone, such as .*picture-0000.*history"):
        rollback(config.output.uri, 2, local_place.storage)
    assert served(config, local_place) == before
    ResultsTable(config.output.uri, local_place.storage).open().vacuum(
        retention_hours=0, enforce_retention_duration=False, dry_run=False
    )
    whole = {change.last: change.is_whole for change in read_history(config.output.uri, local_place.storage)}
    assert (whole[2], whole[3]) == (False, True)
    with pytest.raises(ConfigError, match=r"--to 2: .* files are gone, such as .*parquet"):
        rollback(config.output.uri, 2, local_place.storage)


def test_what_cannot_be_rolled_back(local_place: Place, tiny_prior: str) -> None:
    with pytest.raises(NothingToResume, match="there are no results"):
        rollback(local_place.uri, 0, local_place.storage)
    config = job(local_place, write_manifest(local_place, rows(8)), tiny_prior)
    plan = restore_here(config, shards=1)
    with pytest.raises(ConfigError, match=r"--to 9: .* has no such version; it has 0 to 1"):
        rollback(config.output.uri, 9, local_place.storage)
    with Lease(config.output.uri, plan.job_id, local_place.storage, ttl_s=2, renewal_s=0.2), pytest.raises(LeaseHeld):
        rollback(config.output.uri, 0, local_place.storage)
