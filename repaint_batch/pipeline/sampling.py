"""From a parcel to pictures under way, and from what was sampled back to the parcel. No Ray here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from repaint_batch.inpainting.restorer import Restorer, Underway, Unrestored, nfe_of
from repaint_batch.pipeline.job import Job, Row
from repaint_batch.pipeline.packing import PackedWindows, keep_masks_of, plan_of, restored_bytes
from repaint_batch.sampler.noise import candidate_seed, sample_key

_NEEDED = ("sample_id", "row", "seed", "windows", "work_key", "mask_uri", "__plan", "__saved")


@dataclass(frozen=True)
class Done:
    """What was sampled of one row.

    Attributes:
        underway: its candidates, every window of which has ended.
        is_saved: whether states of it were saved, which are of no use any more.
    """

    underway: Sequence[Underway]
    is_saved: bool = False


def rows_to_sample(work: pa.Table) -> dict[int, Row]:
    """Return what sampling needs of the rows that are to be sampled, by their place in a parcel.

    Their windows and masks stay where they are.
    """
    seen = work.select(["status", "windows"]).to_pylist()
    places = [place for place, row in enumerate(seen) if row["status"] == "pending" and row["windows"]]
    return {place: _row(work, place) for place in places}


def _row(work: pa.Table, place: int) -> Row:
    row = {name: work[name][place].as_py() for name in _NEEDED}
    return row | {name: work[name][place].as_buffer() for name in ("__windows", "__keep")}


def pictures_of(job: Job, row: Row) -> list[Unrestored]:
    """Return a row's windows, once for every candidate."""
    side = job.resolution_px
    plan, orientation = plan_of(row)
    windows, keep = PackedWindows(row, side), keep_masks_of(row, side)
    seeds = [candidate_seed(row["seed"], candidate) for candidate in range(job.config.sampler.candidates)]
    keys = [[sample_key(seed, row["sample_id"], window) for window in range(row["windows"])] for seed in seeds]
    return [Unrestored(windows, keep, plan, orientation, of_one) for of_one in keys]


def filled(
    work: pa.Table, rows: Mapping[int, Row], done: Mapping[int, Done], job: Job, worker: str | None, evaluation_s: float
) -> pa.Table:
    """Return a parcel with what was sampled; all other columns are the same buffers.

    Args:
        work: the parcel.
        rows: those that were sampled, by place.
        done: what came of them.
        job: what every stage knows.
        worker: who sampled them.
        evaluation_s: what one evaluation of one window took, its share of empty slots included.
    """
    sampler = job.sampler
    columns: dict[str, list[Any]] = {name: work[name].to_pylist() for name in ("nfe", "inpaint_s", "worker", "__saved")}
    restored: list[bytes | None] = [None] * len(work)
    for place, row in rows.items():
        one = done[place]
        picture = one.underway[0].picture
        restored[place] = restored_bytes(row, [underway.restored for underway in one.underway], picture.keep_mask)
        columns["nfe"][place] = nfe = len(one.underway) * nfe_of(picture.plan, sampler)
        columns["inpaint_s"][place] = nfe * evaluation_s
        columns["worker"][place] = worker
        columns["__saved"][place] = row["__saved"] or one.is_saved
    for name, values in {**columns, "__restored": restored}.items():
        at = work.schema.get_field_index(name)
        work = work.set_column(at, work.schema.field(at), pa.array(values, work.schema.field(at).type))
    return work


def sampled_here(
    work: pa.Table,
    job: Job,
    restorer: Restorer,
    on_step: Callable[[dict[int, Done]], None] | None = None,
) -> pa.Table:
    """Return a parcel sampled in this process, with nothing saved on the way.

    Args:
        work: the parcel.
        job: what every stage knows.
        restorer: what samples it.
        on_step: called after every step with the rows under way.
    """
    rows = rows_to_sample(work)
    done = {place: Done([restorer.add(picture) for picture in pictures_of(job, row)]) for place, row in rows.items()}
    while not restorer.is_idle:
        restorer.step()
        if on_step is not None:
            on_step(done)
    return filled(work, rows, done, job, None, 0.0) if rows else work
