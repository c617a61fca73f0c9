"""The report of a job: one self-contained HTML page.

Everything is in the page: figures as inline SVG, rows and thumbnails packed (see `repaint_batch.report.gallery`), one
script whose hash the page's own Content-Security-Policy names. Nothing is fetched, so it works from ``file://``, and a name
from a manifest that tried to bring a script would not be run even if it got past the escaping.
"""

import base64
import hashlib
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from markupsafe import Markup

from repaint_batch.config import ImagesConfig
from repaint_batch.errors import RepaintBatchError
from repaint_batch.jobs.plan import Plan
from repaint_batch.jobs.usage import Usage
from repaint_batch.outputs.corrected import images_for
from repaint_batch.report.charts import charts
from repaint_batch.report.figures import Figures, figures
from repaint_batch.report.gallery import MAX_ROWS, Packed, Row, Selection, pack, row_bytes
from repaint_batch.report.render import render, source
from repaint_batch.report.thumbnails import Shrink, Thumbnails
from repaint_batch.report.utilisation import Utilisation
from repaint_batch.schema import RESULTS

Pictures = Callable[[Row], tuple[bytes | None, bytes | None, bytes | None]]
"""Fetches (source, mask, output) of a results row, encoded; None for what there is not."""

SCRIPTS = ("gallery.js", "embedded.js", "viewer.js", "page.js")
"""Files of the templates that make the page's one script, in order."""

_CAPPED = "The gallery holds the {:,} rows most worth a look: failed, then by risk."
_FETCHES = 4  # rows whose pictures are fetched and shrunk at once
FAILED_SHOWN = 200
"""Failed rows that the page lists in full; the gallery's filter shows the others."""


@dataclass(frozen=True)
class JobFacts:
    """What the results table does not say of its job.

    Attributes:
        output: URI of the output.
        rows: rows of the manifest.
        jobs: job ids, oldest first.
        prior: name of the prior, for people.
        sampler: name and settings of the sampler, for people.
        images: polarity of the masks and caps on what is decoded.
        price_per_hour: of one worker; None leaves cost out.
        currency: sign or code that is put before an amount.
        usage: what the actors of each job have said of their devices, by job id; nothing of jobs that have said nothing.
    """

    output: str
    rows: int
    jobs: tuple[str, ...]
    prior: str
    sampler: str
    images: ImagesConfig
    price_per_hour: float | None = None
    currency: str = ""
    usage: Mapping[str, Sequence[Usage]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        output: str,
        plans: list[Plan],
        usage: Mapping[str, Sequence[Usage]],
        *,
        price_per_hour: float | None = None,
        currency: str = "",
    ) -> "JobFacts":
        """Return the facts of an output's jobs, oldest first."""
        first, last = plans[0], plans[-1]
        config = last.job_config
        settings = ", ".join(f"{name} {value}" for name, value in last.sampler.items() if name != "sampler")
        return cls(
            output=output,
            rows=first.rows,
            jobs=tuple(plan.job_id for plan in plans),
            prior=config.prior.source,
            sampler=f"{config.sampler.preset} ({settings})",
            images=config.images,
            price_per_hour=price_per_hour,
            currency=currency,
            usage=usage,
        )

    @property
    def retry_command(self) -> str:
        """The command that runs failed rows again."""
        return f"repaint-batch retry-failed {shlex.quote(self.output)}"


def report_html(
    rows: pa.Table | Iterable[pa.RecordBatch], pictures: Pictures, facts: JobFacts, shrink: Shrink
) -> str:
    """Return the report of a job.

    Args:
        rows: the results, as a table or in batches; columns of `repaint_batch.schema.RESULTS` and any of the manifest's.
        pictures: fetches a row's pictures; several threads call it at once. What it cannot have (`RepaintBatchError`,
            `OSError`) is left out.
        facts: what else is known of the job.
        shrink: makes small pictures of them.
    """
    selection, kept = Selection(), [_figure_columns(RESULTS.empty_table())]
    room = row_bytes(facts.rows)
    batches = rows.to_batches(max_chunksize=256) if isinstance(rows, pa.Table) else rows

    def shown(row: Row) -> Thumbnails | None:
        images = images_for(facts.images, facts.output, row["mask_uri"])
        return _thumbnails(row, pictures, shrink, images, room) if selection.wants(row) else None

    with ThreadPoolExecutor(_FETCHES) as pool:
        for batch in batches:
            kept.append(_figure_columns(batch))
            offered = batch.to_pylist()
            for row, small in zip(offered, list(pool.map(shown, offered)), strict=True):
                selection.offer(row, small)
                row.pop("output", None)
    facts_of_rows = figures(pa.concat_tables(kept), facts.jobs)
    return _page(facts_of_rows, pack(selection.chosen()), selection, facts)


def _figure_columns(rows: pa.Table | pa.RecordBatch) -> pa.Table:
    """Return the columns that figures are made of, without pictures and the manifest's own."""
    wanted = [field for field in RESULTS if field.name != "output"]
    return pa.table({field.name: _column(rows, field) for field in wanted})


def _column(rows: pa.Table | pa.RecordBatch, field: pa.Field) -> pa.ChunkedArray:
    """Return a column; nulls where results of an earlier edition have none."""
    if field.name not in rows.schema.names:
        return pa.chunked_array([pa.nulls(len(rows), field.type)])
    return pa.chunked_array([_flat(rows[field.name])]).cast(field.type)


def _flat(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _thumbnails(row: Row, pictures: Pictures, shrink: Shrink, images: ImagesConfig, room: tuple[int, int]) -> Thumbnails:
    try:
        before, mask, after = pictures(row)
    except (RepaintBatchError, OSError):
        return Thumbnails()
    return shrink(before, mask, after, images, *room)


def _page(numbers: Figures, packed: Packed, selection: Selection, facts: JobFacts) -> str:
    script, script_hash = joined_script(SCRIPTS)
    failed = [row for row, _ in selection.chosen() if row["status"] == "failed"]
    return render(
        "page.html.j2",
        facts=facts,
        numbers=numbers,
        charts=charts(numbers),
        cost=_cost(numbers, facts),
        utilisation=Utilisation.of([usage for of_job in facts.usage.values() for usage in of_job]),
        pending=max(0, facts.rows - numbers.rows),
        failed=failed[:FAILED_SHOWN],
        slowest=sorted(numbers.spans, key=lambda span: -span.seconds)[:10],
        kinds=(("", "All"), ("ok", "Restored"), ("skipped", "Skipped"), ("failed", "Failed")),
        kinds_legend="Status",
        capped=_CAPPED.format(packed.count) if selection.seen > MAX_ROWS else None,
        packed=packed,
        script=script,
        script_hash=script_hash,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def joined_script(names: Iterable[str]) -> tuple[Markup, str]:
    """Return files of the templates as one script, and what a Content-Security-Policy calls it by."""
    script = "\n".join(source(name) for name in names)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Markup(script), f"sha256-{digest}"  # files of this package


def _cost(numbers: Figures, facts: JobFacts) -> dict[str, Any] | None:
    if facts.price_per_hour is None:
        return None
    total = numbers.worker_s / 3600 * facts.price_per_hour
    done = numbers.statuses["ok"]
    return {"total": f"{facts.currency}{total:,.2f}", "thousand": f"{facts.currency}{1000 * total / max(1, done):,.2f}"}
