"""Small real pictures, and a report made of them."""

import numpy as np
import pyarrow as pa
import pytest

from repaint_batch.report.page import Pictures, report_html
from repaint_batch.report.thumbnails import thumbnails
from repaint_batch.schema import RESULTS

from .fabricated import EVIL, Written, facts, png, result_row, results


@pytest.fixture(scope="session")
def gradient() -> np.ndarray:
    """(32, 32, 3) uint8: red rises to the right, green downwards."""
    ramp = np.linspace(0, 255, 32).astype(np.uint8)
    return np.dstack([np.tile(ramp, (32, 1)), np.tile(ramp[:, None], (1, 32)), np.full((32, 32), 90, np.uint8)])


@pytest.fixture(scope="session")
def pictures(gradient: np.ndarray) -> Pictures:
    """Source with a grey hole on the left, its mask (white = hole), output with the gradient all over."""
    hole = np.zeros((32, 32), np.uint8)
    hole[8:24, 4:12] = 255
    damaged = np.where(hole[..., None] > 0, np.uint8(128), gradient)
    source, mask, output = png(damaged), png(hole), png(gradient)
    return lambda row: (source, mask, output if row["status"] != "failed" else None)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, pictures: Pictures) -> Written:
    """A report of 60 rows: every tenth failed, one skipped, one with a name that tries to bring markup."""
    rows = [result_row(number, "failed" if number % 10 == 9 else "ok") for number in range(60)]
    rows[3] = result_row(3, "skipped", reason="the mask has no hole", hole_fraction=0.0)
    rows[5] = result_row(5, sample_id=EVIL, risk=1.0, image_uri=EVIL, reason=EVIL, worker=EVIL)
    rows[9] = result_row(9, "failed", sample_id=f"failed {EVIL}", reason=EVIL, error_class=EVIL)
    schema = RESULTS.append(pa.field(EVIL, pa.string()))
    path = tmp_path_factory.mktemp("report") / "report.html"
    table = results([{**row, EVIL: EVIL} for row in rows], schema)
    path.write_text(report_html(table, pictures, facts(60), thumbnails))
    return Written(path.as_uri(), path, rows)
