"""What every stage knows of a job, and what rows look like on their way between stages.

A parcel is a few consecutive rows of one shard, as many as fit `PARCEL_BYTES`: it is what travels, what the actor takes up, and
what is committed together. Its table has the columns of the results, of which a stage fills in its own, plus those of `WORK`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from repaint_batch.config import RETIRED, JobConfig
from repaint_batch.jobs.plan import Plan, job_uri
from repaint_batch.jobs.quarantine import Quarantine
from repaint_batch.schema import RESULTS
from repaint_batch.storage import Storage

if TYPE_CHECKING:
    from repaint_batch.sampler.sampler import Sampler

PARCEL_BYTES = 8 << 20
"""What the rows of a parcel may take together; one row at least, whatever it takes."""

WORK = [
    pa.field("__image", pa.large_binary()),  # encoded, as read
    pa.field("__mask", pa.large_binary()),
    pa.field("__windows", pa.large_binary()),  # see `repaint_batch.pipeline.packing`
    pa.field("__keep", pa.large_binary()),  # bits of (N, R, R), 1 = known pixel
    pa.field("__plan", pa.string()),  # JSON: the picture's orientation and its N windows
    pa.field("__restored", pa.large_binary()),  # hole pixels of final windows, once sampled, of every candidate
    pa.field("__saved", pa.bool_()),  # a state of its sampling was saved, and is to be deleted once it is committed
]
PACKED = pa.schema([pa.field("work", pa.large_binary())])
"""A parcel on its way between two stages, see `packed`."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What every stage knows.

    Attributes:
        plan: the frozen plan.
        output: normalised folder or prefix of the output.
        passthrough: the manifest's own columns.
        resolution_px: side of the prior's input.
        deadline_s: most seconds that a stage may work on a parcel. Then its process is ended, and the rows are tried again.
    """

    plan: Plan
    output: str
    passthrough: tuple[pa.Field, ...]
    resolution_px: int
    deadline_s: float = RETIRED["compute", "shard_deadline_s"].value

    @property
    def config(self) -> JobConfig:
        """The job's config."""
        return self.plan.job_config

    @cached_property
    def sampler(self) -> "Sampler":
        """What its windows are sampled with."""
        from repaint_batch.sampler.presets import sampler_of  # and torch, which workers that only read do without

        asked = self.config.sampler
        return sampler_of(asked.preset, asked.num_steps, asked.own)

    @property
    def storage(self) -> Storage:
        """How its store is reached; what it has served before tells a row's own fault from the store's."""
        served = [*(file.uri for file in self.plan.files), job_uri(self.output, self.plan.job_id, "plan.json")]
        return Storage(self.config.storage, served=served)

    @property
    def quarantine(self) -> Quarantine:
        """Rows that are not to be tried again."""
        return Quarantine(self.output, self.plan, self.storage)

    @property
    def results_schema(self) -> pa.Schema:
        """Columns that are committed."""
        return pa.schema([*RESULTS, *self.passthrough])

    @property
    def work_schema(self) -> pa.Schema:
        """Columns that travel between stages."""
        return pa.schema([*RESULTS, *WORK, *self.passthrough])


def packed(work: pa.Table) -> pa.Table:
    """Return a work table as one row of bytes, so that a batch of one row is a parcel: Ray has no other batch for GPUs."""
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, work.schema) as writer:
        writer.write_table(work)
    data = stream.getvalue()
    offsets = pa.array([0, data.size], pa.int64()).buffers()[1]
    return pa.table([pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, data])], schema=PACKED)


def unpacked(block: pa.Table) -> pa.Table:
    """Return the work table that `packed` packed; its buffers are the block's own."""
    return pa.ipc.open_stream(block["work"][0].as_buffer()).read_all()


def span_of(rows: pa.Table) -> tuple[int, int]:
    """Return the manifest rows [start, stop) of a parcel.

    Raises:
        AssertionError: they are not consecutive.
    """
    numbers = rows["row"].to_pylist()
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise AssertionError(f"a parcel holds consecutive rows, got {numbers}")
    return numbers[0], numbers[-1] + 1


def inflight_uri(output: str, job_id: str, row: int | None = None) -> str:
    """Return where the states of all rows that are being sampled are kept, or that of one."""
    return job_uri(output, job_id, "inflight", *([] if row is None else [f"{row:012d}"]))
