"""How others watch a job: metrics on the Prometheus endpoint of every node of Ray, and lines in its logs.

Ray puts ``ray_`` before every name. A process reports every ten seconds, so what it counted in its last seconds may be lost;
the results table has the exact figures. Lines go to Ray's logs with `compute.log: json`, where Ray adds node, worker and
time; ids of the package are called ``repaint_job``, ``row`` and ``sample_id``.
"""

import logging
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc
from ray.util.metrics import Counter, Gauge

from repaint_batch.jobs.usage import Usage

logger = logging.getLogger("repaint_batch")

COUNTERS = {
    "repaint_images": ("Rows committed.", ("repaint_job", "status")),
    "repaint_parcels_committed": ("Parcels committed.", ("repaint_job",)),
    "repaint_windows": ("Windows sampled.", ("repaint_job",)),
    "repaint_nfe": ("Network evaluations spent.", ("repaint_job",)),
    "repaint_failures": ("Rows failed.", ("repaint_job", "error_class")),
    "repaint_stage_seconds": ("Seconds of work.", ("repaint_job", "stage")),
}
"""Counters by name: what they count, and their tags."""
GAUGES = {
    "repaint_slots_used": "Share of the slots of network calls that held a window, since the actor started.",
    "repaint_device_waits": "Share of the time since an actor's first network call in which none was under way.",
    "repaint_windows_waiting": "Windows that are ready and wait for a slot.",
    "repaint_parcels": "Parcels that an actor works on.",
}
"""Gauges of every actor by name."""
PLANNED = "repaint_rows_planned"
"""Gauge of every actor: the rows of its whole job, with the output that they go to. What drivers set is not exported."""


@cache
def _counter(name: str) -> Counter:
    description, tags = COUNTERS[name]
    return Counter(name, description, tag_keys=tags)


@cache
def _gauge(name: str) -> Gauge:
    return Gauge(name, GAUGES[name], tag_keys=("repaint_job",))


@cache  # a gauge that is let go reports no more
def _planned() -> Gauge:
    return Gauge(PLANNED, "Rows of a job.", tag_keys=("repaint_job", "repaint_output"))


def _count(name: str, value: float, *tags: str) -> None:
    if value:  # Ray refuses to count nothing
        _counter(name).inc(value, dict(zip(COUNTERS[name][1], tags, strict=True)))


def committed(job_id: str, start: int, rows: pa.Table, commit_s: float) -> None:
    """Count a parcel, whose first row is `start`, that this process has just committed, and say so."""
    for column, name in (("status", "repaint_images"), ("error_class", "repaint_failures")):
        for entry in pc.value_counts(rows[column].combine_chunks()).to_pylist():
            if entry["values"] is not None:
                _count(name, entry["counts"], job_id, entry["values"])
    _count("repaint_parcels_committed", 1, job_id)
    for column, name in (("windows", "repaint_windows"), ("nfe", "repaint_nfe")):
        _count(name, pc.sum(rows[column]).as_py() or 0, job_id)
    for stage in ("decode", "inpaint", "encode"):
        _count("repaint_stage_seconds", pc.sum(rows[f"{stage}_s"]).as_py() or 0, job_id, stage)
    _count("repaint_stage_seconds", commit_s, job_id, "commit")
    failed = rows.filter(pc.equal(rows["status"], "failed")).select(["sample_id", "error_class", "reason"]).to_pylist()
    ids = {"repaint_job": job_id, "row": start}
    logger.info("parcel committed", extra={**ids, "rows": len(rows), "failed": len(failed)})
    for row in failed:
        logger.warning("row failed", extra={**ids, **row})


def planned(job_id: str, output: str, rows: int) -> None:
    """Note the rows that a job has planned and the output they go to: by it, all that has the job's id is an output's."""
    place = output.encode("ascii", "backslashreplace").decode()  # Ray's tags are ASCII
    _planned().set(rows, {"repaint_job": job_id, "repaint_output": place})


def used(job_id: str, usage: Usage) -> None:
    """Note how well this process's actor uses its device."""
    tags = {"repaint_job": job_id}
    values = usage.slots_used, usage.waits, float(usage.waiting), float(usage.parcels)
    for name, value in zip(GAUGES, values, strict=True):
        _gauge(name).set(value, tags)
