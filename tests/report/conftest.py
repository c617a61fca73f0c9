"""Small real pictures, a report made of them, and a real browser to open pages in."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from repaint_batch.report.page import Pictures, write_report
from repaint_batch.schema import RESULTS

from .fabricated import EVIL, Written, facts, png, result_row, results

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


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
    rows[5] = result_row(5, sample_id=EVIL, seam_score=9.0, image_uri=EVIL, reason=EVIL, worker=EVIL)
    rows[9] = result_row(9, "failed", sample_id=f"failed {EVIL}", reason=EVIL, error_class=EVIL)
    schema = RESULTS.append(pa.field(EVIL, pa.string()))
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, results([{**row, EVIL: EVIL} for row in rows], schema), pictures, facts(60))
    return Written(path.as_uri(), path, rows)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium, driven by Playwright."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[test]'")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        pytest.skip("no Chromium on the PATH: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens a URL at a width and a colour scheme; fails the test on any error or request of the page."""
    contexts, faults = [], []

    def opened(url: str, *, width: int = 1280, scheme: str = "light", ready: bool = True) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("console", lambda message: faults.append(f"console: {message.text}"))
        page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
        page.on(
            "request",
            lambda request: request.url.startswith(("file:", "data:")) or faults.append(f"request: {request.url}"),
        )
        page.goto(url, wait_until="commit")
        if ready:
            page.wait_for_selector("html[data-ready]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not faults
