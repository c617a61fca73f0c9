"""Rows as a Ray Dataset: a read task per unit, which hands on parcels as it decodes them; actors; a write task per parcel.

`target_max_block_size` 1 makes every parcel that a read task yields a block of its own, which goes on at once. Actors ask for
other resources than the stages around them, which keeps Ray from fusing decoding into the actor.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Datasink, Datasource
from ray.data.block import Block, BlockMetadata
from ray.data.context import AutoscalingConfig
from ray.data.datasource import ReadTask

from repaint_batch.manifest import read_rows
from repaint_batch.pipeline.coordinator import Coordinator, Ear
from repaint_batch.pipeline.devices import Devices
from repaint_batch.pipeline.guarding import Heard, told
from repaint_batch.pipeline.job import PACKED, PARCEL_BYTES, Job, packed, span_of, unpacked
from repaint_batch.pipeline.stages import decode, encode
from repaint_batch.pipeline.telemetry import committed
from repaint_batch.table.results import ResultsTable
from repaint_batch.table.staging import stage


@dataclass(frozen=True)
class Unit:
    """Consecutive rows of one shard that are handed out together.

    Attributes:
        start: first row, counted in the manifest.
        stop: row after the last.
        saved: rows of it whose sampling was interrupted and its state saved.
    """

    start: int
    stop: int
    saved: frozenset[int] = frozenset()


_CALLS = 16
"""Parcels that an actor works on at once: enough that windows wait for every slot, also where parcels are small."""
_QUEUED = 8
"""Parcels that wait at an actor beyond those."""
_STORE_SHARE = 0.9  # of Ray's object store, that parcels may take
_FULL_QUEUE = 0.8  # share of an actor's parcels from which it counts as full


@dataclass(frozen=True)
class ActorResources:
    """How many actors, and what each and the stages around them take.

    Attributes:
        least: actors that always run.
        most: actors at most, when the queue is long.
        num_cpus: logical CPUs of each.
        num_gpus: GPUs of each.
        threads: CPU threads of the network in each.
        stage_cpus: logical CPUs of a task that decodes or encodes.
    """

    least: int
    most: int
    num_cpus: float
    num_gpus: float
    threads: int
    stage_cpus: float


class UnitSource(Datasource):  # type: ignore[misc]
    """Reads and decodes units of a plan, and hands on packed parcels."""

    def __init__(self, job: Job, units: Sequence[Unit], coordinator: Any) -> None:
        super().__init__()
        self._coordinator = coordinator
        # A plan with a thousand manifest files has 150 kB: it travels once, and not with each task.
        self._job, self._shared, self._units = job, ray.put(job), list(units)

    def estimate_inmemory_data_size(self) -> int:
        """Return a guess in bytes, from which Ray sizes its buffers."""
        return len(self._units) * PARCEL_BYTES

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: DataContext | None = None
    ) -> list[ReadTask]:
        """Return one task a unit, whatever parallelism was asked for."""
        return [self._task(unit) for unit in self._units]

    def _task(self, unit: Unit) -> ReadTask:
        shared, coordinator = self._shared, self._coordinator
        metadata = BlockMetadata(num_rows=1, size_bytes=PARCEL_BYTES, input_files=None, exec_stats=None)
        return ReadTask(lambda: read_unit(ray.get(shared), unit, coordinator), metadata, schema=PACKED)


def read_unit(job: Job, unit: Unit, coordinator: Any) -> Iterator[pa.Table]:
    """Yield a unit's parcels, packed."""
    with told(job, unit.start, unit.stop, Ear(coordinator)):
        quarantined = job.quarantine.of_shard(unit.start // job.plan.shard_rows)
        rows = read_rows(job.plan.files, unit.start, unit.stop, job.storage)
        yield from map(packed, decode(rows, job, unit.start, quarantined, unit.saved))


class CommitSink(Datasink[list[int]]):  # type: ignore[misc]
    """Encodes each parcel, and returns once it is durable."""

    def __init__(self, job: Job, coordinator: Any) -> None:
        self._job, self._coordinator = job, coordinator

    def write(self, blocks: Iterable[Block], ctx: Any) -> list[int]:
        """Commit the parcels in `blocks`; return their first rows."""
        return [self._publish(unpacked(block)) for table in map(pa.table, blocks) for block in _rows_of(table)]

    def _publish(self, work: pa.Table) -> int:
        job = self._job
        start, stop = span_of(work)
        ear = Ear(self._coordinator)
        with told(job, start, stop, ear):
            rows = encode(work, job)
            began = time.perf_counter()
            entry = stage(ResultsTable(job.output, job.storage), job.plan, rows, work["attempt"][0].as_py())
            if ear.commit(entry):
                committed(job.plan.job_id, start, rows, time.perf_counter() - began)
            for row, is_saved in zip(work["row"].to_pylist(), work["__saved"].to_pylist(), strict=True):
                if is_saved:
                    self._inflight.drop(row)
        return start

    @cached_property
    def _inflight(self) -> Any:
        from repaint_batch.pipeline.inflight import InFlight  # and torch, which most write tasks can do without

        return InFlight(self._job)


def _rows_of(table: pa.Table) -> Iterator[pa.Table]:
    return (table.slice(number, 1) for number in range(len(table)))


def _set_context(most_queued: int) -> None:
    """Tell Ray Data to hand on parcels as they come, to leave what fails to us, and when an actor counts as full."""
    context = DataContext.get_current()
    context.target_max_block_size = 1  # every parcel is a block of its own
    # By default half of the store stays empty, and large parcels wait outside of actors that have nothing else to do.
    context.override_object_store_memory_limit_fraction = _STORE_SHARE
    context.enable_progress_bars = False
    context.execution_options.verbose_progress = False
    # The table says what came through. Ray's own retries would go on for ever with a parcel that kills its worker.
    context.max_errored_blocks = -1
    # Long parcels are normal: only a deadline of the job's own may end one.
    context.execution_no_progress_timeout_s = -1
    # More actors as soon as all have their queue full, if there is room; nodes that join later make room.
    context.autoscaling_config = AutoscalingConfig(actor_pool_util_upscaling_threshold=_FULL_QUEUE * most_queued)


def parcels_in_flight(units: int, actors: int) -> int:
    """Return how many parcels an actor holds at most: of a small job its share, or the first to be ready would take all.

    A job of one actor, or of hardly more units than actors, is left as it is: its units may be of many parcels each, and fewer of
    them at once would leave slots empty.
    """
    most = _CALLS + _QUEUED
    return min(most, -(-units // actors)) if actors > 1 and units >= 2 * actors else most


def run_units(
    job: Job,
    units: Sequence[Unit],
    resources: ActorResources,
    *,
    epoch: int | None,
    isolated: bool = False,
    bell: Any = None,
    devices: Devices | None = None,
    out: frozenset[str] = frozenset(),
) -> Heard:
    """Run units as far as they go, and return what was heard of them; what dies on the way is silently dropped.

    Args:
        job: the job.
        units: rows to restore.
        resources: what actors and stages take.
        epoch: number of the lease, which fences what is committed.
        isolated: one parcel at a time in an actor, so that none dies of another.
        bell: tells actors to stop, see `stopping`.
        devices: what is known of them.
        out: those that are to get no work if there are others. An actor on one of them is there and waits, so that nobody else
            is put on it: there are as many actors more.
    """
    in_flight = 1 if isolated else parcels_in_flight(len(units), resources.least)
    devices = devices or Devices()
    idle = len(out | devices.bad)
    rows = sum(unit.stop - unit.start for unit in units)
    pool = ActorPoolStrategy(
        min_size=min(resources.least, rows) + idle,
        max_size=min(resources.most, rows) + idle,
        max_tasks_in_flight_per_actor=in_flight,
        max_concurrent_calls_per_actor=min(in_flight, _CALLS),
        enable_true_multi_threading=True,
    )
    _set_context(most_queued=in_flight)
    coordinator = Coordinator.beside_the_driver(job, epoch, devices, out)
    try:
        _flow(job, units, resources, pool, coordinator, bell)
        heard: Heard = ray.get(coordinator.heard.remote())
        return heard
    finally:
        ray.kill(coordinator)


def _flow(
    job: Job, units: Sequence[Unit], resources: ActorResources, pool: ActorPoolStrategy, coordinator: Any, bell: Any
) -> None:
    """Let units through the three stages: read and decode, sample, encode and commit."""
    # Here, since workers that read, encode and commit import this module too, and torch takes them seconds.
    from repaint_batch.pipeline.actor import Inpainter

    dataset = ray.data.read_datasource(
        UnitSource(job, units, coordinator),
        num_cpus=resources.stage_cpus,
        override_num_blocks=len(units),
        ray_remote_args={"max_retries": 0},
    )
    dataset = dataset.map_batches(
        Inpainter,
        batch_size=1,  # row, which is a parcel
        batch_format="pyarrow",
        fn_constructor_args=(job, resources.threads, resources.num_gpus > 0, coordinator, bell),
        compute=pool,
        num_cpus=resources.num_cpus,
        num_gpus=resources.num_gpus,
        max_task_retries=0,
    )
    sink = CommitSink(job, coordinator)
    dataset.write_datasink(sink, ray_remote_args={"num_cpus": resources.stage_cpus, "max_retries": 0})
