"""What an output holds, held against a job: rows that failed run under other settings, new rows are added, good ones stay."""

from typing import Any

import pytest

from repaint_batch.config import JobConfig
from repaint_batch.errors import ConfigError, LeaseHeld
from repaint_batch.jobs.lease import Lease
from repaint_batch.jobs.plan import load_plans
from repaint_batch.outputs.dead_letters import retry_configs
from repaint_batch.outputs.standing import Standing, added, changes, retried, standing, told
from repaint_batch.outputs.status import read_status
from repaint_batch.pipeline.run import plan_job
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import encoded, hole, job, rows, write_manifest
from ..restored import restore_here


def corpus(count: int) -> list[dict[str, Any]]:
    """Rows of which the second has a mask of another size."""
    found = rows(count)
    found[1]["mask"] = {"bytes": encoded(hole(1)[:8]), "path": None}
    return found


def stands(config: JobConfig, place: Place) -> Standing:
    plan, manifest, _ = plan_job(config, place.storage)
    return standing(plan, manifest, place.storage)


def attempts(config: JobConfig, place: Place) -> dict[str, str]:
    return {row["sample_id"]: row["attempt"] for row in ResultsTable(config.output.uri, place.storage).rows()}


def test_what_failed_by_a_setting_runs_under_another_and_the_good_rows_stay(local_place: Place, tiny_prior: str) -> None:
    config = job(local_place, write_manifest(local_place, corpus(3)), tiny_prior)
    assert stands(config, local_place).words("job.yaml") == "", "an empty output"
    first = restore_here(config)
    assert stands(config, local_place).is_same
    before = attempts(config, local_place)

    fitted = job(local_place, config.input.manifest, tiny_prior, images={"mask_resize": True})
    found = stands(fitted, local_place)
    assert (found.is_refused, found.good, found.failed) == (True, 2, 1)
    assert "images.mask_resize: true (was false)" in found.words("job.yaml")
    said = found.words("job.yaml")
    assert f"`repaint-batch retry-failed {local_place.uri}/out --config job.yaml` runs its 1 failed rows" in said
    assert "another output.uri" not in said, "it changes nothing about good rows"

    ((again, plan),) = retry_configs(config.output.uri, local_place.storage, fitted)
    assert told(plan, retried(config.output.uri, plan, fitted)[1], 1, 2) == [
        f"1 failed rows of job {first.job_id} run again with images.mask_resize: true (was false)"
    ]
    restore_here(again, retry_of=plan.job_id)
    assert ResultsTable(config.output.uri, local_place.storage).counts() == {"ok": 3, "skipped": 0, "failed": 0}
    after = attempts(config, local_place)
    assert {sample_id for sample_id in before if before[sample_id] != after[sample_id]} == {"picture-0001"}
    recorded = load_plans(config.output.uri, local_place.storage)[-1]
    assert recorded.job_config.images.mask_resize, "which settings made it is recorded"
    assert stands(fitted, local_place).is_settled


def test_a_setting_that_changes_good_rows_too_says_how_many(local_place: Place, tiny_prior: str) -> None:
    config = job(local_place, write_manifest(local_place, corpus(3)), tiny_prior)
    restore_here(config)
    other = job(local_place, config.input.manifest, tiny_prior, sampler={"preset": "preview"})
    said = stands(other, local_place).words("job.yaml")
    assert "sampler.preset: preview (was draft)" in said
    assert "its 2 good rows stay as they are, although sampler.preset would change them too" in said
    assert "choose another output.uri to restore all rows that way" in said
    ((_, plan),) = retry_configs(config.output.uri, local_place.storage, other)
    assert "would also change the 2 good rows" in told(plan, retried(config.output.uri, plan, other)[1], 1, 2)[1]


def test_a_prefix_that_is_allowed_now_is_a_change(local_place: Place, tiny_prior: str) -> None:
    config = job(local_place, "m.parquet", tiny_prior)
    (change,) = changes(config, job(local_place, "m.parquet", tiny_prior, storage={"allow": ["s3://masks"]}))
    assert (str(change), change.is_allowing) == ("storage.allow: s3://masks (was nothing)", True)
    assert changes(config, config) == []


def test_the_settings_of_another_output_are_refused(local_place: Place, tiny_prior: str) -> None:
    config = job(local_place, write_manifest(local_place, corpus(2)), tiny_prior)
    restore_here(config)
    with pytest.raises(ConfigError, match=r"its output.uri is .*elsewhere, not"):
        retry_configs(config.output.uri, local_place.storage, job(local_place, "m.parquet", tiny_prior, "elsewhere"))


@pytest.mark.parametrize("shards", [None, 1], ids=["finished", "half done"])
def test_the_rows_that_a_manifest_has_grown_by_are_added(shards: int | None, local_place: Place, tiny_prior: str) -> None:
    config = job(local_place, write_manifest(local_place, corpus(3)), tiny_prior, compute={"shard_rows": 2})
    first = restore_here(config, shards=shards)
    before = attempts(config, local_place)
    write_manifest(local_place, [*corpus(3), *rows(5)[3:]])  # in its place
    plan, manifest, _ = plan_job(config, local_place.storage)
    found = standing(plan, manifest, local_place.storage)
    assert found.is_grown
    new = 5 - len(before)
    assert f"the manifest has {new} rows that are not there: `repaint-batch run job.yaml` adds them" in found.words("job.yaml")
    if shards is not None:
        with Lease(config.output.uri, first.job_id, local_place.storage), pytest.raises(LeaseHeld):
            added(plan, manifest, found, local_place.storage)
    larger, joined, listed = added(plan, manifest, found, local_place.storage)
    assert (joined, listed) == (first.job_id, 5)
    restore_here(larger, retry_of=joined, listed=listed, shards=1)  # and stops
    found = standing(plan, manifest, local_place.storage)
    larger, joined, listed = added(plan, manifest, found, local_place.storage)
    restore_here(larger, retry_of=first.job_id, listed=listed)
    after = attempts(config, local_place)
    assert len(after) == 5
    assert before.items() <= after.items(), "what was there stays"
    status = read_status(config.output.uri, local_place.storage)
    assert (status.rows, status.missing, status.finished) == (5, 0, True)
    assert stands(config, local_place).is_settled
