"""The command that shows what a job did: report."""

import contextlib
import http.server
import webbrowser
from typing import Annotated

import pyarrow as pa
import typer
from deltalake.exceptions import DeltaError
from rich.markup import escape

from repaint_batch.cli.options import Endpoint, OutputUri, Region, reached
from repaint_batch.cli.printing import console
from repaint_batch.cli.waiting import waiting
from repaint_batch.errors import NothingToResume, RepaintBatchError, redact
from repaint_batch.storage import Storage
from repaint_batch.uris import join, normalise

_ROWS_WITH_RUN = 10_000


def report(
    output: OutputUri,
    to: Annotated[str | None, typer.Option(help="File to write; by default report.html in the output.")] = None,
    price_per_hour: Annotated[
        float | None, typer.Option(min=0, help="Price of one worker; the page then states the cost.")
    ] = None,
    currency: Annotated[str, typer.Option(help="Currency sign of the price.")] = "$",
    serve: Annotated[bool, typer.Option("--serve", help="Serve the page on this machine and open it, until Ctrl-C.")] = False,
    endpoint_url: Endpoint = None,
    region: Region = None,
) -> None:
    """Write one HTML page about an output: figures, every picture before and after, failed rows.

    Example: repaint-batch report ./restored --serve
    """
    storage = reached(output, endpoint_url, region)
    with waiting("reading rows and pictures"):
        where, size = write_output_report(output, storage, to, price_per_hour=price_per_hour, currency=currency)
    console.print(f"{escape(where)} ({size / 1e6:.1f} MB)")
    if serve:
        with page_server(storage.read(where)) as server:
            url = f"http://127.0.0.1:{server.server_address[1]}/"
            console.print(f"{url} until Ctrl-C")
            webbrowser.open(url)
            with contextlib.suppress(KeyboardInterrupt):
                server.serve_forever()


def page_server(page: bytes) -> http.server.ThreadingHTTPServer:
    """Return a server on loopback that answers every question with one page."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing of every question."""

    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)


def write_output_report(
    output: str, storage: Storage, to: str | None = None, *, price_per_hour: float | None = None, currency: str = ""
) -> tuple[str, int]:
    """Write the report of an output; return where it is and its size in bytes.

    Args:
        output: folder or prefix of the output.
        storage: how to reach it.
        to: file or object; by default ``report.html`` in the output.
        price_per_hour: of one worker, to state the cost.
        currency: put before an amount.

    Raises:
        NothingToResume: the output holds no job.
    """
    # Pictures and templates take half a second to import: only those who want a page wait for them.
    from repaint_batch.apart import Apart
    from repaint_batch.jobs.plan import load_plans
    from repaint_batch.jobs.usage import read_usage
    from repaint_batch.outputs.sources import Sources
    from repaint_batch.report.page import JobFacts, report_html
    from repaint_batch.report.thumbnails import shrinking
    from repaint_batch.table.results import ResultsTable

    plans = load_plans(output, storage)
    table = ResultsTable(output, storage)
    if not plans or not table.exists():
        raise NothingToResume(f"{output} holds no job to report on; `repaint-batch run` makes one")
    usage = {plan.job_id: read_usage(output, plan.job_id, storage) for plan in plans}
    facts = JobFacts.of(output, plans, usage, price_per_hour=price_per_hour, currency=currency)
    with Apart() as apart:
        page = report_html(table.snapshot().batches(), Sources(output, storage, plans), facts, shrinking(apart))
    html = page.encode("utf-8")
    where = join(normalise(output), "report.html") if to is None else normalise(to)
    storage.write(where, html)
    return where, len(html)


def offer_report(output: str, storage: Storage) -> str | None:
    """Write the report of what has just run and return where it is.

    None if the output has more rows than come with every run (`report` makes a page of any number), and also if the page
    cannot be written: why is said, and what ran is done all the same.
    """
    from repaint_batch.table.results import ResultsTable

    try:
        if sum(ResultsTable(output, storage).counts().values()) > _ROWS_WITH_RUN:
            return None
        return write_output_report(output, storage)[0]
    except (RepaintBatchError, DeltaError, pa.ArrowException, OSError) as error:
        why = escape(redact(str(error)))
        console.print(f"the report was not written: {why}; `repaint-batch report {escape(output)}` writes it")
        return None
