"""Shards as a Ray Dataset: one read task, one block, one write task each.

Two settings keep a shard in one block: `target_max_block_size` None and `override_num_blocks` equal to the number of
shards; the sink checks that it worked. Actors ask for other resources than the stages around them, which keeps Ray from
fusing decoding into the actor.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Datasink, Datasource
from ray.data.block import Block, BlockMetadata
from ray.data.context import AutoscalingConfig
from ray.data.datasource import ReadTask

from repaint_batch.manifest import read_rows
from repaint_batch.pipeline.stages import PACKED, Job, decode, encode, inflight_uri, packed, recorded, unpacked
from repaint_batch.pipeline.telemetry import committed
from repaint_batch.results.attempts import Unit
from repaint_batch.results.table import ResultsTable
from repaint_batch.storage import Storage

_STAGE_CPUS = 0.25  # decode, encode and commit mostly wait for the store
_FULL_QUEUE = 0.8  # share of an actor's queue from which it counts as full
_ROW_BYTES = 2 << 20  # what a row's sources and windows are expected to take


@dataclass(frozen=True)
class ActorResources:
    """How many actors, and what each takes.

    Attributes:
        least: actors that always run.
        most: actors at most, when the queue is long.
        num_cpus: logical CPUs of each.
        num_gpus: GPUs of each.
        threads: CPU threads of the network in each.
    """

    least: int
    most: int
    num_cpus: float
    num_gpus: float
    threads: int


class ShardSource(Datasource):  # type: ignore[misc]
    """Reads units of a plan, each packed in a block of its own."""

    def __init__(self, job: Job, units: Sequence[Unit]) -> None:
        super().__init__()
        # A plan with a thousand manifest files has 150 kB: it travels once, and not with each task.
        self._job, self._shared, self._units = job, ray.put(job), list(units)

    def estimate_inmemory_data_size(self) -> int:
        """Return a guess in bytes, from which Ray sizes its buffers."""
        return sum(unit.stop - unit.start for unit in self._units) * _ROW_BYTES

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: DataContext | None = None
    ) -> list[ReadTask]:
        """Return one task a unit, whatever parallelism was asked for."""
        return [self._task(unit) for unit in self._units]

    def _task(self, unit: Unit) -> ReadTask:
        shared, rows = self._shared, unit.stop - unit.start
        metadata = BlockMetadata(num_rows=1, size_bytes=rows * _ROW_BYTES, input_files=None, exec_stats=None)
        return ReadTask(lambda: [packed(read_unit(ray.get(shared), unit))], metadata, schema=PACKED)


def read_unit(job: Job, unit: Unit) -> pa.Table:
    """Return a unit's work table: its manifest rows, decoded."""
    log = job.attempt_log
    with recorded(job, unit.shard):
        attempt = log.begin(unit)
        quarantined = {row - unit.start: reason for row, reason in log.quarantined(unit.shard).items()}
        rows = read_rows(job.plan.files, unit.start, unit.stop, Storage(job.config.storage))
        return decode(rows, job, unit.shard, unit.start, attempt, quarantined)


def encode_block(block: pa.Table, job: Job) -> pa.Table:
    """Return the results of a packed work table."""
    work = unpacked(block)
    with recorded(job, work["shard"][0].as_py()):
        return encode(work, job)


class CommitSink(Datasink[list[int]]):  # type: ignore[misc]
    """Commits each shard in one transaction; of a probe it says only that it came through."""

    def __init__(self, job: Job, probe: Unit | None) -> None:
        self._job, self._probe = job, probe

    def write(self, blocks: Iterable[Block], ctx: Any) -> list[int]:
        """Commit the shard in `blocks`; return its number."""
        tables = [pa.table(block) for block in blocks]
        rows = pa.concat_tables([table for table in tables if len(table)])
        shards = set(rows["shard"].to_pylist())
        if len(shards) != 1:
            raise AssertionError(f"a write task must get exactly one shard, got {sorted(shards)}")
        unit = self._probe or Unit.whole(self._job.plan, shards.pop())
        with recorded(self._job, unit.shard):
            if len(rows) != unit.stop - unit.start or len(rows) != len(set(rows["sample_id"].to_pylist())):
                raise AssertionError(f"{unit} came through as {len(rows)} rows")
            if unit.probe:
                self._job.attempt_log.passed(unit)
            else:
                plan, storage = self._job.plan, Storage(self._job.config.storage)
                started = time.perf_counter()
                if ResultsTable(self._job.output, storage).commit(plan, unit.shard, rows):
                    committed(plan.job_id, unit.shard, rows, time.perf_counter() - started)
                storage.delete(inflight_uri(self._job.output, plan.job_id, unit.shard))
        return [unit.shard]


def run_units(
    job: Job, units: Sequence[Unit], resources: ActorResources, tasks_in_flight: int, bell: Any = None
) -> None:
    """Run units, of different shards, as far as they go; what dies on the way is silently dropped.

    Args:
        job: the job.
        units: whole shards, or one probe.
        resources: what actors take.
        tasks_in_flight: shards queued at an actor. When it dies they die with it.
        bell: tells actors to stop, see `stopping`.
    """
    # Here, since workers that read, encode and commit import this module too, and torch takes them seconds.
    from repaint_batch.pipeline.actor import Inpainter

    context = DataContext.get_current()
    context.target_max_block_size = None
    context.enable_progress_bars = False
    context.execution_options.verbose_progress = False
    # The table says what came through. Ray's own retries would go on for ever with a shard that kills its worker.
    context.max_errored_blocks = -1
    # Long shards are normal: only a deadline of the job's own may end one.
    context.execution_no_progress_timeout_s = -1
    # More actors as soon as all have their queue full, if there is room; nodes that join later make room.
    context.autoscaling_config = AutoscalingConfig(actor_pool_util_upscaling_threshold=_FULL_QUEUE * tasks_in_flight)
    actors = min(resources.most, len(units))
    dataset = ray.data.read_datasource(
        ShardSource(job, units),
        num_cpus=_STAGE_CPUS,
        override_num_blocks=len(units),
        ray_remote_args={"max_retries": 0},
    )
    dataset = dataset.map_batches(
        Inpainter,
        batch_size=1,  # row, which is a shard
        batch_format="pyarrow",
        fn_constructor_args=(job, resources.threads, bell),
        compute=ActorPoolStrategy(
            min_size=min(resources.least, actors), max_size=actors, max_tasks_in_flight_per_actor=tasks_in_flight
        ),
        num_cpus=resources.num_cpus,
        num_gpus=resources.num_gpus or None,
        max_task_retries=0,
    )
    dataset = dataset.map_batches(
        encode_block, batch_size=1, batch_format="pyarrow", fn_args=(job,), num_cpus=_STAGE_CPUS, max_retries=0
    )
    probe = next((unit for unit in units if unit.probe), None)
    dataset.write_datasink(CommitSink(job, probe), ray_remote_args={"num_cpus": _STAGE_CPUS, "max_retries": 0})
