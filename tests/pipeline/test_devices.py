"""Devices that fail: whom they are held against, and who gets no more work."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.config import JobConfig
from repaint_batch.errors import CommitUnknown, ShardFailed
from repaint_batch.pipeline.coordinator import Coordinator
from repaint_batch.pipeline.devices import Devices, Failure, is_of_device
from repaint_batch.pipeline.guarding import DEVICE_ERROR, Raised
from repaint_batch.pipeline.job import Job
from repaint_batch.pipeline.passes import Lost, after_deaths, judge_devices
from repaint_batch.pipeline.run import run_job
from repaint_batch.table.committer import Committer
from repaint_batch.table.ranges import Ranges
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import job, rows, write_manifest
from ..publishing import empty_table, plan_of, staged
from .conftest import Recorder
from .playing import play
from .saboteur import BAD_GPU


@given(st.integers(4, 8), st.integers(1, 3), st.sampled_from([set(), {5}, {6, 7}]))
@settings(deadline=None, max_examples=60)
def test_a_bad_device_condemns_no_row_and_a_bad_row_no_device(parcels: int, limit: int, killers: set[int]) -> None:
    everything = set(range(4 * parcels))
    assert play(4 * parcels, 4, killers, limit, {"a", "b"})[:3] == (everything - killers, killers, frozenset())
    assert play(4 * parcels, 4, set(), limit, {"a", "b"}, broken={"a"})[:3] == (everything, set(), {"a"})
    with pytest.raises(ShardFailed, match=r"every device fails with whatever it is given .*a, b.*: CUDA error"):
        play(4 * parcels, 4, set(), limit, {"a", "b"}, broken={"a", "b"})


def test_a_row_is_not_condemned_by_one_device_alone_where_there_are_two() -> None:
    devices = Devices(seen={"a", "b"}, proven={"a", "b"})
    dead, on_a = Ranges.of((3, 4)), [Failure("a", Ranges.of((3, 4)))]
    lost, guilty = after_deaths([Lost(3, 4, 5, frozenset("a"))], dead, Ranges.of(), 2, on_a, devices)
    assert (lost, guilty) == ([Lost(3, 4, 6, frozenset("a"))], [])
    on_b = [Failure("b", Ranges.of((3, 4)))]
    assert after_deaths(lost, dead, Ranges.of(), 2, on_b, devices) == ([], [Lost(3, 4, 7, frozenset("ab"))])


def test_the_only_device_that_never_brought_anything_home_condemns_no_row() -> None:
    devices = Devices(seen={"a"})
    lost, guilty = after_deaths(
        [Lost(0, 1, 1, frozenset("a"))], Ranges.of((0, 1)), Ranges.of(), 2, [Failure("a", Ranges.of((0, 1)))], devices
    )
    assert guilty == []
    with pytest.raises(ShardFailed, match="every device fails"):
        judge_devices(devices, lost, 2)


@pytest.mark.parametrize(
    ("message", "is_so"),
    [
        ("CUDA error: uncorrectable ECC error encountered", True),
        ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", True),
        ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`", True),
        ("Triton Error [CUDA]: misaligned address", True),
        ("CUDA out of memory. Tried to allocate 2.00 GiB", False),
        ("planted by the tests", False),
    ],
)
def test_errors_of_a_device(message: str, is_so: bool) -> None:
    assert is_of_device(RuntimeError(message)) is is_so


@pytest.fixture
def waiting_job(local_place: Place) -> Job:
    """A job whose table is there; nothing of it is done."""
    plan = plan_of(local_place, storage={"patience_s": 3})
    empty_table(local_place)
    return Job(plan, local_place.uri, (), 16)


def test_a_device_that_fails_with_everything_waits_until_nobody_is_better(waiting_job: Job) -> None:
    async def story() -> None:
        coordinator = Coordinator(waiting_job, None)

        async def fails(device: str, start: int) -> None:
            # Two parcels are under way in the process: it is one failure, and all of them went with it.
            for first in (start, start + 1):
                await coordinator.began(first, first + 1, device)
            for first in (start, start + 1):
                await coordinator.ended(first, first + 1, Raised(first, first + 1, DEVICE_ERROR, "CUDA error"), device)

        await coordinator.serves("a")
        await coordinator.serves("b")
        await fails("a", 0)
        await coordinator.serves("a")
        await fails("a", 2)
        waits = asyncio.create_task(coordinator.serves("a"))
        await coordinator.serves("b")
        assert not waits.done()
        heard = await coordinator.heard()
        assert heard.devices.bad == {"a"}
        assert heard.failures == [Failure("a", Ranges.of((0, 2))), Failure("a", Ranges.of((2, 4)))]
        assert (heard.raised, heard.died) == ([], [])
        await fails("b", 0)
        await fails("b", 2)
        await waits

    asyncio.run(story())


def test_what_the_store_did_not_do_is_asked_again(waiting_job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    publish, answers = Committer._publish, iter([CommitUnknown("nobody knows")])

    def unwell(self: Committer, entries: Any) -> Any:
        for error in answers:
            raise error
        return publish(self, entries)

    monkeypatch.setattr(Committer, "_publish", unwell)
    table = ResultsTable(waiting_job.output, waiting_job.storage)
    entry = staged(table, waiting_job.plan, 0, 1)
    assert asyncio.run(Coordinator(waiting_job, None).commit(entry))
    assert table.done(waiting_job.plan) == Ranges.of((0, 1))


@pytest.mark.usefixtures("ray_cluster")
def test_a_bad_gpu_beside_a_good_one_costs_no_row(local_place: Place, tiny_prior: str, recorder: Recorder) -> None:
    corpus = rows(8)
    for row in corpus:
        row["sample_id"] = f"{BAD_GPU}-{row['sample_id']}"
    compute = {"shard_rows": 1, "num_gpus": 1, "num_cpus": 1, "actors": 2, "max_attempts": 1}
    config: JobConfig = job(local_place, write_manifest(local_place, corpus), tiny_prior, compute=compute)
    assert run_job(config, recorder).counts == {"ok": 8, "skipped": 0, "failed": 0}
