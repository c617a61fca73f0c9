"""The demo: damaged pictures, the real engine, a page to look at."""

import io
import math
import time
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow.parquet as pq
import typer
from PIL import Image

from repaint_batch.cli.jobs import console, progress
from repaint_batch.config import ComputeConfig, InputConfig, JobConfig, OutputConfig, PriorConfig
from repaint_batch.report.demo import DemoCard, DemoSummary, contact_sheet, write_demo_report
from repaint_batch.results.table import ResultsTable
from repaint_batch.storage import Storage, normalise

_TELEA_RADIUS_PX = 3


def demo(
    output: Annotated[str, typer.Argument(help="Folder for the results and the page.")] = "demo-output",
) -> None:
    """Restore bundled pictures that the bundled prior has never seen, and write a page that shows them.

    Example: repaint-batch demo
    """
    from repaint_batch.pipeline.run import run_job
    from repaint_batch.sampler.presets import PRESETS

    started = time.perf_counter()
    with as_file(files("repaint_batch") / "assets" / "demo.parquet") as manifest:
        config = JobConfig(
            input=InputConfig(manifest=str(manifest)),
            output=OutputConfig(uri=output),
            prior=PriorConfig(source="bundled:emoji"),
            compute=ComputeConfig(shard_rows=6, batch_windows=6, actors=2),
        )
        summary = run_job(config, progress)
        sources = {row["sample_id"]: row for row in pq.read_table(manifest).to_pylist()}
    seconds = time.perf_counter() - started
    ok = ResultsTable(output, Storage()).rows(where=[("status", "=", "ok")])
    cards = [_card(row, sources[row["sample_id"]]) for row in ok]
    preset = config.sampler.preset
    facts = DemoSummary(seconds, PRESETS[preset].nfe, preset, config.prior.source, normalise(output))
    folder = Path(normalise(output))
    write_demo_report(folder / "report.html", cards, facts)
    contact_sheet(cards).save(folder / "contact-sheet.png")
    mean = np.mean([card.psnr_db for card in cards])
    telea = [card.telea_psnr_db for card in cards if card.telea_psnr_db is not None]
    against = f" (OpenCV's Telea: {np.mean(telea):.1f} dB)" if telea else ""
    if summary.shards_run == 0:
        console.print(f"the pictures in {output} were restored already: 0 network evaluations")
    console.print(f"{len(cards)} pictures restored, mean hole PSNR {mean:.1f} dB{against}")
    console.print(f"look at them: {folder / 'report.html'}")
    raise typer.Exit(summary.exit_code)


def _card(row: dict[str, Any], source: dict[str, Any]) -> DemoCard:
    damaged, mask, original = source["image"]["bytes"], source["mask"]["bytes"], row["original"]
    hole = np.asarray(Image.open(io.BytesIO(mask)).convert("L")) > 127
    telea = _telea(_pixels(damaged), hole)
    return DemoCard(
        sample_id=row["sample_id"],
        kind=row["kind"],
        damaged=damaged,
        mask=mask,
        restored=row["output"],
        original=original,
        telea=None if telea is None else _png(telea),
        psnr_db=_hole_psnr(_pixels(row["output"]), _pixels(original), hole),
        telea_psnr_db=None if telea is None else _hole_psnr(telea, _pixels(original), hole),
    )


def _telea(damaged: np.ndarray, hole: np.ndarray) -> np.ndarray | None:
    """Return OpenCV's Telea inpainting, or None where OpenCV is not installed."""
    try:
        import cv2
    except ImportError:
        return None
    filled: np.ndarray = cv2.inpaint(damaged, hole.astype(np.uint8), _TELEA_RADIUS_PX, cv2.INPAINT_TELEA)
    return filled


def _hole_psnr(restored: np.ndarray, original: np.ndarray, hole: np.ndarray) -> float:
    error = np.mean((restored[hole].astype(float) - original[hole].astype(float)) ** 2)
    return 10 * math.log10(255**2 / max(float(error), 1e-9))


def _pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
