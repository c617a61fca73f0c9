"""Who works on a job that is not done, as `status` tells it."""

import pytest

from repaint_batch import cli
from repaint_batch.jobs.lease import Lease
from repaint_batch.jobs.plan import freeze
from repaint_batch.storage import Storage

from ..conftest import Place
from ..table.test_results import plan_of


def test_a_job_that_was_asked_to_stop_says_so(local_place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    plan = freeze(plan_of(local_place), local_place.uri, Storage())

    def told() -> str:
        assert cli.run(["status", local_place.uri]) == 1
        return " ".join(capsys.readouterr().out.split())

    assert "nobody works on it; `repaint-batch run" in told()
    with Lease(local_place.uri, plan.job_id, Storage()) as lease:
        assert f"process {lease.holder.pid} on {lease.holder.host} works on it" in told()
        held = lease.newest()
        assert held is not None
        lease.request_stop(held)
    assert "stopped by request; nobody works on it since 20" in (said := told())
    assert f"`repaint-batch run {local_place.uri}` goes on" in said
