"""Shards as a Ray Dataset: one read task, one block, one write task each.

Two settings keep a shard in one block: `target_max_block_size` None and `override_num_blocks` equal to the number of
shards; the sink checks that it worked. Actors ask for other resources than the stages around them, which keeps Ray from
fusing decoding into the actor.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy, DataContext, Datasink, Datasource
from ray.data.block import Block, BlockMetadata
from ray.data.datasource import ReadTask

from repaint_batch.manifest import read_rows
from repaint_batch.pipeline.actor import Inpainter
from repaint_batch.pipeline.stages import Job, decode, encode
from repaint_batch.results.table import ResultsTable
from repaint_batch.storage import Storage

_STAGE_CPUS = 0.25  # decode, encode and commit mostly wait for the store
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
    """Reads pending shards of a plan, one block each."""

    def __init__(self, job: Job, shards: Sequence[int]) -> None:
        super().__init__()
        self._job, self._shards = job, list(shards)

    def estimate_inmemory_data_size(self) -> int:
        """Return a guess in bytes, from which Ray sizes its buffers."""
        return sum(self._rows(shard) for shard in self._shards) * _ROW_BYTES

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: DataContext | None = None
    ) -> list[ReadTask]:
        """Return one task a shard, whatever parallelism was asked for."""
        return [self._task(shard) for shard in self._shards]

    def _rows(self, shard: int) -> int:
        start, stop = self._job.plan.shard_range(shard)
        return stop - start

    def _task(self, shard: int) -> ReadTask:
        job = self._job
        rows = self._rows(shard)
        metadata = BlockMetadata(num_rows=rows, size_bytes=rows * _ROW_BYTES, input_files=None, exec_stats=None)
        return ReadTask(lambda: [read_shard(job, shard)], metadata, schema=job.work_schema)


def read_shard(job: Job, shard: int) -> pa.Table:
    """Return a shard's work table: its manifest rows, decoded."""
    start, stop = job.plan.shard_range(shard)
    rows = read_rows(job.plan.files, start, stop, Storage(job.config.storage))
    return decode(rows, job, shard, attempt=uuid.uuid4().hex[:12])


class CommitSink(Datasink[list[int]]):  # type: ignore[misc]
    """Commits each shard in one transaction."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def write(self, blocks: Iterable[Block], ctx: Any) -> list[int]:
        """Commit the shard in `blocks`; return its number."""
        tables = [pa.table(block) for block in blocks]
        rows = pa.concat_tables([table for table in tables if len(table)])
        shards = set(rows["shard"].to_pylist())
        if len(shards) != 1 or len(rows) != len(set(rows["sample_id"].to_pylist())):
            raise AssertionError(f"a write task must get exactly one shard, got {sorted(shards)} in {len(rows)} rows")
        shard = int(shards.pop())
        start, stop = self._job.plan.shard_range(shard)
        if len(rows) != stop - start:
            raise AssertionError(f"shard {shard} has {stop - start} rows, a write task got {len(rows)}")
        ResultsTable(self._job.output, Storage(self._job.config.storage)).commit(self._job.plan, shard, rows)
        return [shard]


def restore_shards(job: Job, shards: Sequence[int], resources: ActorResources) -> None:
    """Run the given shards of a job to their commits, or as far as they go."""
    context = DataContext.get_current()
    context.target_max_block_size = None
    context.enable_progress_bars = False
    context.execution_options.verbose_progress = False
    # Long shards are normal: only a deadline of the job's own may end one.
    context.execution_no_progress_timeout_s = -1
    actors = min(resources.most, len(shards))
    dataset = ray.data.read_datasource(ShardSource(job, shards), num_cpus=_STAGE_CPUS, override_num_blocks=len(shards))
    dataset = dataset.map_batches(
        Inpainter,
        batch_size=None,
        batch_format="pyarrow",
        fn_constructor_args=(job, resources.threads),
        compute=ActorPoolStrategy(
            min_size=min(resources.least, actors), max_size=actors, max_tasks_in_flight_per_actor=2
        ),
        num_cpus=resources.num_cpus,
        num_gpus=resources.num_gpus or None,
    )
    dataset = dataset.map_batches(
        encode, batch_size=None, batch_format="pyarrow", fn_args=(job,), num_cpus=_STAGE_CPUS
    )
    dataset.write_datasink(CommitSink(job), ray_remote_args={"num_cpus": _STAGE_CPUS})
