"""The demo: damaged pictures, the real engine, a page to look at."""

import io
import time
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow.parquet as pq
import typer
from PIL import Image

from repaint_batch.cli.jobs import starting
from repaint_batch.cli.printing import console
from repaint_batch.cli.waiting import waiting
from repaint_batch.config import ComputeConfig, InputConfig, JobConfig, OutputConfig, SamplerConfig
from repaint_batch.report.demo import DemoCard, DemoSummary, contact_sheet, write_demo_report
from repaint_batch.storage import Storage
from repaint_batch.table.results import ResultsTable
from repaint_batch.uris import normalise

_PRESET = "draft"
"""What two idle cores do in two minutes with the prior of photographs."""


def demo(
    output: Annotated[str, typer.Argument(help="Folder for the results and the page.")] = "demo-output",
) -> None:
    """Restore damaged photographs that the bundled prior has never seen, and write a page that shows them.

    Example: repaint-batch demo
    """
    started = time.perf_counter()
    with waiting("loading Ray and torch"):
        from repaint_batch.inpainting.device import cpu_has_bfloat16
        from repaint_batch.pipeline.run import run_job
        from repaint_batch.sampler.presets import PRESETS

    with as_file(files("repaint_batch") / "assets" / "demo.parquet") as manifest:
        config = JobConfig(
            input=InputConfig(manifest=str(manifest)),
            output=OutputConfig(uri=output),
            sampler=SamplerConfig(preset=_PRESET),
            compute=ComputeConfig(
                shard_rows=6, batch_windows=6, actors=2, precision="bfloat16" if cpu_has_bfloat16() else "float32"
            ),
        )
        with starting(config) as begun:
            summary = run_job(config, begun)
        sources = {row["sample_id"]: row for row in pq.read_table(manifest).to_pylist()}
    seconds = time.perf_counter() - started
    ok = ResultsTable(output, Storage()).rows(where=[("status", "=", "ok")])
    with waiting("comparing with the originals"):
        cards = [_card(row, sources[row["sample_id"]]) for row in ok]
    preset = config.sampler.preset
    windows = sum(row["windows"] for row in ok)
    facts = DemoSummary(seconds, PRESETS[preset].nfe, windows, preset, config.prior.source, normalise(output))
    folder = Path(normalise(output))
    with waiting("writing the page"):
        write_demo_report(folder / "report.html", cards, facts)
        contact_sheet(cards).save(folder / "contact-sheet.png")
    mean, telea = (np.mean([getattr(card, name) for card in cards]) for name in ("psnr_db", "telea_psnr_db"))
    if summary.rows_run == 0:
        console.print(f"the pictures in {output} were restored already: 0 network evaluations")
    console.print(f"{len(cards)} pictures restored, mean hole PSNR {mean:.1f} dB (OpenCV's Telea: {telea:.1f} dB)")
    console.print(f"look at them: {folder / 'report.html'}")
    raise typer.Exit(summary.exit_code)


def _card(row: dict[str, Any], source: dict[str, Any]) -> DemoCard:
    import torch

    from repaint_batch.evaluate.metrics import hole_psnr, hole_ssim

    pictures = (torch.from_numpy(_pixels(row[name])) for name in ("output", "original"))
    restored, original = (picture.permute(2, 0, 1)[None] / 127.5 - 1 for picture in pictures)
    keep = torch.from_numpy(_pixels(source["mask"]["bytes"])[..., 0] < 128)[None, None]
    return DemoCard(
        sample_id=row["sample_id"],
        kind=row["kind"],
        damaged=source["image"]["bytes"],
        restored=row["output"],
        original=row["original"],
        telea=row["telea"],
        psnr_db=float(hole_psnr(restored, original, keep)),
        telea_psnr_db=row["telea_psnr_db"],
        ssim=float(hole_ssim(restored, original, keep)),
        telea_ssim=row["telea_ssim"],
        credit=row["credit"],
    )


def _pixels(data: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data)).convert("RGB"))
