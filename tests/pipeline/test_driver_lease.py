"""A job under way is not run a second time beside itself."""

from dataclasses import replace

import pytest

from repaint_batch.errors import LeaseHeld
from repaint_batch.jobs.lease import Holder, Lease
from repaint_batch.jobs.plan import freeze
from repaint_batch.outputs.status import read_status
from repaint_batch.pipeline.dataset import ActorResources
from repaint_batch.pipeline.job import Job
from repaint_batch.pipeline.passes import restore
from repaint_batch.pipeline.run import plan_job, run_job
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import job, rows, write_manifest
from ..restored import restore_here
from .conftest import Recorder


def test_a_second_driver_is_refused_until_the_job_is_done(local_place: Place, tiny_prior: str, recorder: Recorder) -> None:
    config = job(local_place, write_manifest(local_place, rows(2)), tiny_prior)
    plan = freeze(plan_job(config, local_place.storage)[0], config.output.uri, local_place.storage)
    elsewhere = replace(Holder.of_this_process(), host="another-machine", machine="another boot")
    with Lease(config.output.uri, plan.job_id, local_place.storage, elsewhere, ttl_s=4, renewal_s=0.3):
        with pytest.raises(LeaseHeld, match=f"job {plan.job_id} .* on another-machine is running this job"):
            run_job(config, recorder)
        assert read_status(config.output.uri, local_place.storage).missing == 2
        restore_here(config)
        assert run_job(config, recorder).rows_run == 0, "a finished job needs no lease"


def test_no_pass_begins_without_the_lease(local_place: Place, tiny_prior: str) -> None:
    config = job(local_place, write_manifest(local_place, rows(3)), tiny_prior, compute={"shard_rows": 2})
    plan = restore_here(config, shards=1)
    table = ResultsTable(config.output.uri, local_place.storage)

    def lost() -> None:
        raise LeaseHeld("another driver has it")

    with pytest.raises(LeaseHeld):
        restore(Job(plan, config.output.uri, (), 16), table, ActorResources(1, 1, 1, 0, 1, 0.25), lost)
    assert table.counts()["ok"] == 2
