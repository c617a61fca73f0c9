"""One night, from listing to summary."""

import contextlib
import csv
import json
import os
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from repaint_batch.errors import ConfigError, RepaintBatchError, Stopped, redact
from repaint_batch.inpainting.device import precision_of
from repaint_batch.jobs.lease import NIGHT_LEASE, Lease
from repaint_batch.jobs.plan import Plan, load_plans, sampler_fingerprint, withdraw
from repaint_batch.nights.config import NightConfig
from repaint_batch.nights.corpus import MANIFEST, Comparison, Found, asked_for
from repaint_batch.nights.corrections import EARLIER
from repaint_batch.outputs.history import NIGHT_FORMAT, REMOVED
from repaint_batch.outputs.orphans import YOUNG_S, delete_orphans, find_orphans
from repaint_batch.outputs.status import no_holes, no_holes_reason
from repaint_batch.pipeline.run import Summary, Watch, honoured, run_job
from repaint_batch.priors.load import load_prior
from repaint_batch.schema import RISK
from repaint_batch.storage import Storage
from repaint_batch.table.results import ResultsTable
from repaint_batch.table.upkeep import look_after
from repaint_batch.uris import join, normalise

WEBHOOK_VARIABLE = "REPAINT_BATCH_WEBHOOK"
"""Environment variable of a webhook whose address is a secret, in place of night.webhook."""
NAMED = 10
"""Names of each kind in a summary."""
_POST_S = 10.0

Report = Callable[[str, Storage], str | None]
"""Writes the report of an output and returns where it is; None if it writes none."""


@dataclass
class NightSummary:
    """What became of a night.

    Attributes:
        night: when it began, UTC; the name of its folder.
        output: folder or prefix of the output.
        ended: ``done``, ``deadline``, ``stopped`` or ``error``.
        error: what ended it, if an error did, or why it is no success.
        listed: pairs of the corpus.
        ran: rows to run, by reason; ``left over`` are those of nights that were ended before they had run them.
        skipped: rows that were not, by reason.
        unpaired_pictures: pictures without a mask.
        unpaired_masks: masks without a picture.
        named: the first of what is left out, by why, and of the rows that failed, by class of error.
        left_out: file with everything that is left out; None where nothing is.
        failed: file with every row that failed; None where none did.
        corrected: of the rows to run, those with a mask that somebody has corrected.
        earlier_masks: corrected masks that are for earlier versions of pictures which it ran.
        removed: rows taken out since their picture or mask is gone.
        withdrawn: jobs of earlier nights that were given up, since something else is asked for now.
        jobs: jobs that it ran.
        rows: rows that it brought home, by status.
        failures: failed ones, by class of error.
        worst: the restored ones that are likeliest wrong, worst first: sample_id, risk and why.
        windows: prior-sized windows sampled.
        nfe: network evaluations spent.
        actor_hours: hours that actors worked.
        cost: the same at compute.price_per_gpu_hour; None without a price.
        version: the table's version after it; None where there is no table.
        version_before: likewise before it: what a rollback of this night goes back to.
        report: where the report is.
        seconds: wall-clock time.
        exit_code: 0; 3 if more rows failed than night.most_failed allows, or the output holds none that had a hole.
    """

    night: str
    output: str
    ended: str = "done"
    error: str | None = None
    listed: int = 0
    ran: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    unpaired_pictures: int = 0
    unpaired_masks: int = 0
    named: dict[str, list[str]] = field(default_factory=dict)
    left_out: str | None = None
    failed: str | None = None
    corrected: int = 0
    earlier_masks: int = 0
    removed: int = 0
    withdrawn: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=lambda: {"ok": 0, "skipped": 0, "failed": 0})
    failures: dict[str, int] = field(default_factory=dict)
    worst: list[dict[str, Any]] = field(default_factory=list)
    windows: int = 0
    nfe: int = 0
    actor_hours: float = 0.0
    cost: float | None = None
    version: int | None = None
    version_before: int | None = None
    report: str | None = None
    seconds: float = 0.0
    exit_code: int = 0


def run_night(
    config: NightConfig, watch: Watch, report: Report = lambda output, storage: None, run: Callable[..., Summary] = run_job
) -> NightSummary:
    """Bring an output up to its corpus, as far as the night lasts; write and post what became of it.

    Args:
        config: corpus, output and what is asked for.
        watch: makes whoever is told how far a job is.
        report: writes the report, if rows ran.
        run: runs a job.

    Raises:
        LeaseHeld: another night of this output is running.
        Stopped: told to stop, as by `ray job stop` or `repaint-batch stop`; the next night goes on.
        RepaintBatchError: whatever else ended it; the summary says so too.
    """
    with Lease(config.output.uri, NIGHT_LEASE, Storage(config.storage)) as lease:
        return _Night(config, watch, report, run, lease).run()


class _Night:
    def __init__(
        self, config: NightConfig, watch: Watch, report: Report, run: Callable[..., Summary], lease: Lease
    ) -> None:
        self._began, self._started = datetime.now(UTC), time.monotonic()
        self._until = self._started + config.night.hours * 3600
        self._config, self._watch, self._report, self._run_job, self._lease = config, watch, report, run, lease
        self._storage = Storage(config.storage)
        self._output = normalise(config.output.uri)
        self._table = ResultsTable(self._output, self._storage)
        self._summary = NightSummary(self._began.strftime(NIGHT_FORMAT), self._output)
        self._folder = join(self._output, "nights", self._summary.night)

    def run(self) -> NightSummary:
        summary = self._summary
        try:
            summary.version_before = self._version()
            self._work()
        except Stopped as stopped:
            summary.ended = "deadline" if time.monotonic() >= self._until else "stopped"
            if summary.ended == "stopped":
                summary.error = str(stopped)
                raise
        except KeyboardInterrupt:
            summary.ended, summary.error = "stopped", "interrupted"
            raise
        except RepaintBatchError as error:
            summary.ended, summary.error = "error", redact(str(error))
            raise
        finally:
            self._settle()
        return summary

    def _work(self) -> None:
        job, sampler = honoured(self._config.job(join(self._folder, "manifest.parquet")))
        prior = load_prior(job.prior, self._storage, precision=precision_of(job.compute)).fingerprint
        asked = asked_for(prior, sampler_fingerprint(sampler, job.compute.model_dump(mode="json")), job)
        self._finish_earlier(asked)
        with tempfile.TemporaryDirectory(prefix="repaint-batch-") as scratch:
            tries = self._config.night.tries
            comparison = Comparison(self._config.corpus, self._table, job, asked, tries, Path(scratch))
            with contextlib.closing(comparison):
                self._count(comparison.found)
                self._summary.left_out = self._name("left-out.csv", ("why", "name"), comparison.left_out(), Path(scratch))
                self._remove(comparison)
                if comparison.found.skipped["touched"]:
                    self._table.update(comparison.touched(), {"touched": str(comparison.found.skipped["touched"])})
                if comparison.found.to_run:
                    self._write_manifest(comparison, job.input.manifest, Path(scratch))
        if comparison.found.to_run:
            plans = load_plans(self._output, self._storage)
            superseded = plans[-1].job_id if plans else "an earlier night" if self._holds_rows() else None
            self._run(job, superseded, comparison.found.listed)
        if self._version() != self._summary.version_before:
            keep_s = self._config.night.keep_days * 24 * 3600
            look_after(self._table, keep_s)
            delete_orphans(find_orphans(self._output, self._storage, min(YOUNG_S, keep_s)).found, self._storage)

    def _finish_earlier(self, asked: str) -> None:
        """Go on with what earlier nights left, if it is still what is asked for; give it up otherwise."""
        ledger = self._table.ledger()
        for plan in load_plans(self._output, self._storage):
            left = plan.rows - len(ledger.done(plan.job_id))
            if not left:
                continue
            if asked_for(plan.prior_fingerprint, plan.sampler_fingerprint, plan.job_config) == asked:
                self._summary.ran["left over"] = self._summary.ran.get("left over", 0) + left
                job = plan.job_config.model_copy(update={"compute": self._config.compute, "storage": self._allowing(plan)})
                self._run(job, plan.retry_of, plan.listed)
            else:
                withdraw(plan, self._output, self._storage)
                self._summary.withdrawn.append(plan.job_id)

    def _allowing(self, plan: Plan) -> Any:
        return self._config.storage.model_copy(update={"allow": plan.job_config.storage.allow})

    def _run(self, job: Any, superseded: str | None, listed: int | None) -> None:
        if self._lease.is_asked_to_stop():  # while the corpus was looked at; a job finds out by itself
            raise Stopped("stopped by `repaint-batch stop`; the next night goes on")
        asked = self._lease.is_asked_to_stop  # also while the job starts, before it has a lease of its own
        done = self._run_job(job, self._noted, retry_of=superseded, listed=listed, until=self._until, asked=asked)
        if done.plan.job_id not in self._summary.jobs:
            self._summary.jobs.append(done.plan.job_id)

    def _noted(self, plan: Plan, rows_done: int, shards_done: int) -> Any:
        self._summary.jobs.append(plan.job_id)  # known even if the night ends before the job does
        return self._watch(plan, rows_done, shards_done)

    def _count(self, found: Found) -> None:
        summary = self._summary
        summary.listed, summary.ran, summary.skipped = found.listed, {**summary.ran, **found.to_run}, dict(found.skipped)
        summary.unpaired_pictures, summary.unpaired_masks = found.unpaired.pictures, found.unpaired.masks
        summary.corrected, summary.earlier_masks = found.corrected, sum(why == EARLIER for why, _ in found.uncorrected)
        for why, sample_id in found.uncorrected:
            named = summary.named.setdefault(why, [])
            named += [sample_id] if len(named) < NAMED else []

    def _name(self, file: str, heading: Sequence[str], rows: Iterable[Sequence[str]], scratch: Path) -> str | None:
        """Write rows, which begin with why and a name, beside the summary, and the first names of each kind into it."""
        path, found = scratch / file, 0
        with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as opened:
            writer = csv.writer(opened)
            writer.writerow(heading)
            for row in rows:
                writer.writerow(map(inert, row))
                names = self._summary.named.setdefault(row[0], [])
                names += [row[1]] if len(names) < NAMED else []
                found += 1
        if not found:
            return None
        self._storage.upload(uri := join(self._folder, file), path)
        return uri

    def _remove(self, comparison: Comparison) -> None:
        deleted, held = comparison.found.deleted, comparison.found.held
        if not deleted:
            return
        if deleted > self._config.night.most_removed * held:
            raise ConfigError(
                f"corpus: {deleted:,} of the {held:,} rows in {self._output} have no picture and mask there any more; "
                "check corpus.images and corpus.masks, or raise night.most_removed if that is meant"
            )
        ids = comparison.deleted()
        buffer = pa.BufferOutputStream()
        pq.write_table(ids, buffer)
        # Told before it is done, so that nobody finds rows gone without knowing why.
        self._storage.write(join(self._folder, "removed.parquet"), buffer.getvalue().to_pybytes())
        self._table.remove(ids, {REMOVED: str(deleted)})
        self._summary.removed = deleted

    def _write_manifest(self, comparison: Comparison, uri: str, scratch: Path) -> None:
        path = scratch / "manifest.parquet"
        with pq.ParquetWriter(path, MANIFEST, compression="zstd") as writer:
            for part in comparison.manifest(self._summary.night):
                writer.write_table(part)
        self._storage.upload(uri, path)

    def _version(self) -> int | None:
        return int(self._table.open().version()) if self._table.exists() else None

    def _holds_rows(self) -> bool:
        return self._table.exists() and sum(self._table.counts().values()) > 0

    def _settle(self) -> None:
        """Complete the summary, store it, and post it."""
        summary, compute = self._summary, self._config.compute
        with _unless_failing(summary.ended == "error"):
            summary.version = self._version()
            if summary.jobs:
                self._take_in_rows()
                if summary.ended in ("done", "deadline"):  # whoever stops a night does not wait for a page
                    summary.report = self._report(self._output, self._storage)
        summary.actor_hours = round(summary.actor_hours, 6)
        if compute.price_per_gpu_hour is not None:
            summary.cost = round(summary.actor_hours * compute.price_per_gpu_hour, 4)
        ran = sum(summary.rows.values())
        if ran and summary.rows["failed"] > self._config.night.most_failed * ran:
            summary.exit_code = 3
        elif ran and not summary.rows["ok"] and no_holes(self._table.counts()):
            summary.exit_code, summary.error = 3, no_holes_reason(self._config.images.hole)
        summary.seconds = round(time.monotonic() - self._started, 1)
        data = json.dumps(asdict(summary), indent=1).encode()
        with _unless_failing(summary.ended == "error"):
            self._storage.write(join(self._folder, "summary.json"), data)
        webhook = self._config.night.webhook or os.environ.get(WEBHOOK_VARIABLE)
        if webhook:
            _post(webhook, data)

    def _take_in_rows(self) -> None:
        of_night = [("job_id", "in", self._summary.jobs), ("finished_at", ">=", self._began)]
        summed = ("windows", "nfe", "inpaint_s")
        ran = self._table.snapshot().read(("status", "error_class", *summed), of_night)
        totals = [([], "count_all"), *((name, "sum") for name in summed)]
        failures = Counter[str]()
        for group in ran.group_by(["status", "error_class"]).aggregate(totals).to_pylist():
            self._summary.rows[group["status"]] += group["count_all"]
            self._summary.windows += group["windows_sum"] or 0
            self._summary.nfe += group["nfe_sum"] or 0
            self._summary.actor_hours += (group["inpaint_s_sum"] or 0.0) / 3600
            if group["error_class"]:
                failures[group["error_class"]] += group["count_all"]
        self._summary.failures = dict(failures)
        worst = self._table.snapshot().read(
            ("sample_id", *RISK), [*of_night, ("status", "=", "ok")], [("risk", "descending"), ("sample_id", "ascending")], NAMED
        )
        self._summary.worst = [row | {"risk": round(row["risk"], 3)} for row in worst.to_pylist() if row["risk"] is not None]
        if failures:
            columns = ("error_class", "sample_id", "reason")
            rows = self._table.snapshot().read(columns, [*of_night, ("status", "=", "failed")]).to_pylist()
            told = sorted([row[name] or "" for name in columns] for row in rows)
            with tempfile.TemporaryDirectory(prefix="repaint-batch-") as scratch:
                self._summary.failed = self._name("failed.csv", columns, told, Path(scratch))


def inert(cell: str) -> str:
    """Return a cell that is text for every spreadsheet: what begins like a formula would be computed where it is opened."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


@contextlib.contextmanager
def _unless_failing(failing: bool) -> Iterator[None]:
    """Run a block whose own error must not hide the one that is on its way."""
    try:
        yield
    except Exception:
        if not failing:
            raise


def _post(webhook: str, data: bytes) -> None:
    request = urllib.request.Request(webhook, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=_POST_S):
            pass
    except (urllib.error.URLError, OSError) as error:  # the summary is in the output all the same
        warnings.warn(f"night.webhook: the summary could not be posted: {redact(str(error))}", stacklevel=2)
