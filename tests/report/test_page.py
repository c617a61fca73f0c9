"""The report as a file: complete, self-contained, and patient with sources that cannot be had."""

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from repaint_batch.errors import SourceMissing
from repaint_batch.jobs.usage import Usage
from repaint_batch.report import gallery
from repaint_batch.report.page import Pictures, report_html
from repaint_batch.report.thumbnails import thumbnails

from .fabricated import EVIL, Written, facts, result_row, results


def embedded(html: str) -> Any:
    found = re.search(r'<script type="application/octet-stream" id="rows">([A-Za-z0-9+/=]*)</script>', html)
    assert found
    return json.loads(gzip.decompress(base64.b64decode(found[1])))


def test_a_table_and_its_batches_make_the_same_page(pictures: Pictures) -> None:
    table = results([result_row(n) for n in range(20)])
    whole = report_html(table, pictures, facts(20), thumbnails)
    parts = report_html(iter(table.to_batches(max_chunksize=3)), pictures, facts(20), thumbnails)
    written = re.compile(r"Written [^<]*")
    assert written.sub("", whole) == written.sub("", parts)


def test_the_page_fetches_nothing(written: Written) -> None:
    html = written.path.read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    assert "default-src 'none'" in html


def test_the_policy_names_the_pages_own_script(written: Written) -> None:
    html = written.path.read_text(encoding="utf-8")
    script = html.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html


def test_hostile_names_are_escaped_wherever_they_stand(written: Written) -> None:
    html = written.path.read_text(encoding="utf-8")
    assert EVIL not in html
    assert html.count("<script") == 3
    assert EVIL in embedded(html)["columns"]["sample_id"]


def test_sources_that_cannot_be_had_are_left_out() -> None:
    def gone(row: dict[str, Any]) -> tuple[None, None, None]:
        raise SourceMissing(f"{row['image_uri']}: no such object")

    data = embedded(report_html(results([result_row(0)]), gone, facts(1), thumbnails))
    assert data["columns"]["sample_id"] == ["pictures/00000"]
    assert data["places"] == [[0, 0, 0, 0, 0, 0, 0]]


def test_outputs_are_handed_to_the_fetcher_and_not_embedded() -> None:
    seen = []

    def fetch(row: dict[str, Any]) -> tuple[None, None, None]:
        seen.append(row["output"])
        return None, None, None

    secret = b"the restored picture, at full size"
    html = report_html(results([result_row(0, output=secret)]), fetch, facts(1), thumbnails)
    assert seen == [secret]
    assert "output" not in embedded(html)["columns"]


@pytest.mark.parametrize("rows", [0, 1])
def test_a_job_that_has_hardly_begun_has_a_report(rows: int, pictures: Pictures) -> None:
    html = report_html(results([result_row(n) for n in range(rows)]), pictures, facts(40), thumbnails)
    assert f"{40 - rows} still to do" in html
    assert len(embedded(html)["places"]) == rows


def test_use_of_devices_is_shown_where_actors_have_said_something(pictures: Pictures) -> None:
    rows = results([result_row(n) for n in range(20)])
    assert "Use of the device" not in report_html(rows, pictures, facts(20), thumbnails)
    actors = [Usage(100, 800, 16, 80.0, 100.0, 0, 0, worker=f"node-{number}") for number in range(2)]
    said = (replace(facts(20), usage={"job": heard}) for heard in (actors[:1], actors))
    one, two = (report_html(rows, pictures, known, thumbnails) for known in said)
    assert "50 % of the slots of network calls held a window; for 20 % of the time" in one
    assert "node-1" not in one
    assert "node-0" in two
    assert "node-1" in two


def test_more_rows_than_the_gallery_holds_are_still_counted(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "MAX_ROWS", 8)
    monkeypatch.setattr("repaint_batch.report.page.MAX_ROWS", 8)
    rows = [result_row(n, "failed" if n in (2, 30) else "ok") for n in range(40)]
    html = report_html(results(rows), pictures, facts(40), thumbnails)
    data = embedded(html)["columns"]
    assert {"pictures/00002", "pictures/00030"} <= set(data["sample_id"])
    assert len(data["sample_id"]) == 8
    assert "38 restored" in html
    assert "The gallery holds the 8 rows most worth a look" in html


def test_large_strings_of_a_table_from_elsewhere_are_read(pictures: Pictures) -> None:
    table = results([result_row(n) for n in range(3)])
    wide = pa.schema(
        [pa.field(f.name, pa.large_string()) if pa.types.is_string(f.type) else f.with_nullable(True) for f in table.schema]
    )
    one, other = (embedded(report_html(rows, pictures, facts(3), thumbnails)) for rows in (table, table.cast(wide)))
    assert one == other
