"""The command that tells how far an output is: status."""

import time
from dataclasses import asdict, replace
from typing import Annotated

import typer
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from repaint_batch.cli.options import Endpoint, OutputUri, Region, reached
from repaint_batch.cli.printing import AsJson, answer, console
from repaint_batch.cli.waiting import waiting
from repaint_batch.jobs.lease import Lease
from repaint_batch.outputs.status import DeviceStatus, OutputStatus, StatusFeed, read_device_status
from repaint_batch.storage import Storage

_WATCH_S = 2.0


def status(
    output: OutputUri,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option(help="Update every two seconds until all is done.")] = False,
    endpoint_url: Endpoint = None,
    region: Region = None,
) -> None:
    """Show the progress of an output: rows that are ok, skipped, failed and missing.

    Exit code: 0 all rows are ok or skipped; 3 all is done, but rows failed or no mask had a hole; 1 rows are missing.

    Example: repaint-batch status ./restored --watch
    """
    storage = reached(output, endpoint_url, region)
    with waiting("reading the table's log"):
        feed = StatusFeed(output, storage)
        found = feed.status
        device, driver = _at_work(output, found, storage)
    if as_json:
        answer(as_json, {**_status_json(found, device), "driver": driver})
    elif watch:
        with Live(_status_table(found, device, driver), console=console, auto_refresh=False) as live:
            while not found.finished:
                time.sleep(_WATCH_S)
                found = feed.poll()
                live.update(_status_table(found, *_at_work(output, found, storage)), refresh=True)
    else:
        console.print(_status_table(found, device, driver))
    raise typer.Exit(found.exit_code)


def _at_work(output: str, found: OutputStatus, storage: Storage) -> tuple[DeviceStatus | None, str | None]:
    """Return how the current job uses its devices, and who works on it, or did, if it is not done."""
    device = read_device_status(output, found.current, storage)
    if found.finished:
        return device, None
    lease = Lease(output, found.current.plan.job_id, storage)
    newest = lease.newest()
    if newest is not None and newest.is_heard:
        return device, newest.words
    idle = None if device is None else replace(device, windows_waiting=0, parcels=0)
    asked = "stopped by request; " if newest is not None and lease.is_asked_to_stop(newest) else ""
    words = "nobody works on it" if newest is None else newest.words
    return idle, f"{asked}{words}; `repaint-batch run {output}` goes on"


def _status_table(found: OutputStatus, device: DeviceStatus | None, driver: str | None) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("job", "planned", "rows", "shards", "what"):
        table.add_column(heading, justify="right" if heading in ("rows", "shards") else "left")
    for job in found.jobs:
        what = f"retry of {job.plan.retry_of}" if job.plan.retry_of else "restore"
        if job.plan.listed is not None:
            what = f"added to {job.plan.retry_of}" if "/added/" in job.plan.config["input"]["manifest"] else "night"
        shards, rows = f"{job.shards_done:,}/{job.plan.shards:,}", f"{job.rows_done:,}/{job.plan.rows:,}"
        table.add_row(job.plan.job_id, job.plan.created_at[:19], rows, shards, what)
    counts = f"[green]{found.ok:,} ok[/], {found.skipped:,} skipped, [red]{found.failed:,} failed[/], {found.missing:,} missing"
    table.caption = f"{counts} of {found.rows:,} rows"
    if device is not None:
        table.caption += f"\n{_device_words(device)}"
    if driver is not None:
        table.caption += f"\njob {found.current.plan.job_id}: {escape(driver)}"
    table.caption_justify = "left"
    return table


def _device_words(device: DeviceStatus) -> str:
    shares = f"{device.slots_used:.0%} of slots in use, device waits {device.device_waits:.0%} of the time"
    return f"{shares}, {device.windows_waiting:,} windows waiting, {device.parcels:,} parcels in flight (job {device.job_id})"


def _status_json(found: OutputStatus, device: DeviceStatus | None) -> dict[str, object]:
    return {
        "finished": found.finished,
        **{name: getattr(found, name) for name in ("rows", "ok", "skipped", "failed", "missing")},
        "jobs": [
            {
                "job_id": job.plan.job_id,
                "retry_of": job.plan.retry_of,
                "rows": job.plan.rows,
                "rows_done": job.rows_done,
                "shards": job.plan.shards,
                "shards_done": job.shards_done,
            }
            for job in found.jobs
        ],
        "device": None if device is None else asdict(device),
    }
