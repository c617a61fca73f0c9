"""The commands report and schedule."""

import re
import threading
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from repaint_batch.cli.dev import schedule
from repaint_batch.cli.report import offer_report, page_server, report, write_output_report
from repaint_batch.errors import ConfigError, NothingToResume
from repaint_batch.sampler.presets import PRESETS
from repaint_batch.table.results import ResultsTable
from repaint_batch.uris import join

from ..conftest import Place
from ..outputs.test_sources import BYTES, job, row_of
from ..publishing import publish
from .fabricated import png, results

app = typer.Typer()
app.command()(report)
app.command()(schedule)


def finished(place: Place) -> str:
    """Make an output of four rows, two of them committed; return its URI."""
    picture = png(np.full((8, 8, 3), 100, np.uint8))
    given = [{"sample_id": f"id-{n}", "image": {"bytes": picture}, "mask": {"bytes": picture}} for n in range(4)]
    plan = job(place, given, BYTES)
    output: str = plan.config["output"]["uri"]
    table = ResultsTable(output, place.storage)
    table.create([])
    publish(table, plan, results([row_of(plan, 0, output=picture), row_of(plan, 1, status="failed", worker=None)]))
    return output


def test_a_report_is_written_into_the_output(place: Place) -> None:
    output = finished(place)
    where, size = write_output_report(output, place.storage, price_per_hour=3600.0, currency="€")
    html = place.storage.read(join(output, "report.html"))
    assert (where.removeprefix("file://"), size) == (join(output, "report.html").removeprefix("file://"), len(html))
    assert html.count(b"<title>Restoration report") == 1
    assert "2 still to do" in " ".join(_words(html.decode()))
    assert "€500.00" in html.decode()  # half a second of one worker at a unit a second


def _words(html: str) -> list[str]:
    tiles = re.findall(r"<dt>([^<]*)</dt><dd[^>]*>([^<]*)", html)
    return [f"{value.strip()} {name}" for name, value in tiles]


def test_what_has_run_is_done_with_or_without_its_page(local_place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    output = finished(local_place)
    where = Path(output.removeprefix("file://"), "report.html")
    where.mkdir()  # where the page is to go
    assert offer_report(output, local_place.storage) is None
    assert f"`repaint-batch report {output}` writes it" in " ".join(capsys.readouterr().out.split())
    where.rmdir()
    assert offer_report(output, local_place.storage) == str(where)


def test_the_command_says_where_the_page_is(local_place: Place, tmp_path: Path) -> None:
    output = finished(local_place)
    to = tmp_path / "page.html"
    answer = CliRunner().invoke(app, ["report", output, "--to", str(to)])
    assert answer.exit_code == 0, answer.output
    assert str(to) in answer.output
    assert to.stat().st_size > 20_000


def test_an_output_without_a_job_is_named(local_place: Place) -> None:
    with pytest.raises(NothingToResume, match="holds no job to report on"):
        write_output_report(local_place.uri, local_place.storage)


def test_schedule_lists_the_presets() -> None:
    answer = CliRunner().invoke(app, ["schedule"])
    assert answer.exit_code == 0
    for name, sampler in PRESETS.items():
        assert any(name in line and f"{sampler.nfe:,}" in line for line in answer.output.splitlines())


def test_schedule_draws_one(tmp_path: Path) -> None:
    cheapest = min(PRESETS, key=lambda name: PRESETS[name].nfe)
    answer = CliRunner().invoke(app, ["schedule", "--preset", cheapest, "--plot", str(tmp_path / "path.svg")])
    assert answer.exit_code == 0
    assert f"{PRESETS[cheapest].nfe:,} network evaluations" in answer.output
    assert any("\u2800" < character <= "\u28ff" for character in answer.output)
    assert (tmp_path / "path.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "words"), [(["--preset", "quick"], "quick is not one of"), (["--plot", "a.svg"], "add --preset")]
)
def test_what_schedule_cannot_do_is_said(arguments: list[str], words: str) -> None:
    answer = CliRunner().invoke(app, ["schedule", *arguments])
    assert isinstance(answer.exception, ConfigError)
    assert words in str(answer.exception)


def test_a_report_is_served_on_loopback() -> None:
    page = "<!doctype html><title>zwölf</title>".encode()
    with page_server(page) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_address[1]}/") as answer:
            assert (answer.read(), answer.headers["Content-Type"]) == (page, "text/html; charset=utf-8")
        server.shutdown()
        thread.join()
