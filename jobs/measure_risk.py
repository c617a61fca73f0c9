"""Tell how well the risk of restorations foretells their error: ``python jobs/measure_risk.py --output measured``.

By default 54 damaged emoji of the package, 32 px, twice each, with the prior that has not seen them. Photographs:

    python jobs/measure_risk.py --output measured --training configs/prior-photo.yaml --pictures data/photos --prior bundled:photo
        --side-px 64 --count 50 --seeds 1

Those that the training held out judge; with ``--half fit`` those that it left out for their licence are taken, to fit. ``--fit``
prints the constants of `repaint_batch/images/risk.py` from what calls with ``--half fit`` have measured.
"""

from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import typer
from PIL import Image

from repaint_batch.config import PriorConfig, StorageConfig, load_config
from repaint_batch.errors import RepaintBatchError
from repaint_batch.evaluate import risk
from repaint_batch.evaluate.imagenet import lite0_distance
from repaint_batch.inpainting import RePaintPipeline
from repaint_batch.priors.load import load_prior
from repaint_batch.priors.pictures import base_name, read_pictures
from repaint_batch.priors.train_config import TrainConfig
from repaint_batch.storage import Storage


def main(
    output: Annotated[Path, typer.Option(help="Folder of what is measured, one file a corpus.")],
    training: Annotated[str | None, typer.Option(help="YAML that trained the prior: its photographs are taken.")] = None,
    pictures: Annotated[str, typer.Option(help="With --training: folder of its photographs.")] = "data/photos",
    prior: Annotated[str, typer.Option(help="Prior that restores, as in a job's config.")] = "bundled:emoji",
    count: Annotated[int, typer.Option(help="Damaged pictures.")] = 54,
    side_px: Annotated[int, typer.Option(help="Side of the crops; emoji are 32.")] = 32,
    preset: Annotated[str, typer.Option(help="Sampler.")] = "preview",
    seeds: Annotated[int, typer.Option(help="Restorations of each.")] = 2,
    half: Annotated[str, typer.Option(help="Pictures that judge, or those to fit.")] = "judge",
    fit: Annotated[bool, typer.Option("--fit", help="Restore nothing; fit the constants to what the folder holds.")] = False,
) -> None:
    """Restore damaged pictures whose truth is known, store error, risk and evidence of each, and print how they agree."""
    try:
        torch.set_num_threads(1)
        if not fit:
            loaded = load_prior(PriorConfig(source=prior), Storage(StorageConfig()), precision="bfloat16")
            pipeline, distance = RePaintPipeline.from_prior(loaded), lite0_distance()
            output.mkdir(parents=True, exist_ok=True)
            cases = risk.cases_of(_pictures(training, pictures, half), count, side_px)
            rows = risk.measured(cases, pipeline, preset, seeds, distance)
            pq.write_table(pa.Table.from_pylist(rows), output / f"{prior.replace(':', '-')}-{half}.parquet")
        corpora = {path.stem: pq.read_table(path).to_pylist() for path in sorted(output.glob("*.parquet"))}
        if fit:
            typer.echo(risk.fitted([rows for name, rows in corpora.items() if name.endswith("-fit")]))
        for name, rows in corpora.items():
            typer.echo("\n".join([name, *risk.verdict(rows)]))
    except RepaintBatchError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


def _pictures(training: str | None, folder: str, half: str) -> list[tuple[str, Image.Image]]:
    """Return pictures that the prior has not seen: of two halves the one that is fitted to, or the one that judges the fit."""
    if training is None:
        emoji = risk.bundled_emoji()
        return sorted(emoji, key=lambda pair: pair[0])[half == "fit" :: 2]
    config = load_config(training, TrainConfig).model_copy(update={"pictures": (folder,)})
    if half == "fit":
        config = config.model_copy(update={"held_out": config.leave_out, "leave_out": ()})
    return [(base_name(uri), image.convert("RGB")) for uri, image in read_pictures(config, "held-out")]


if __name__ == "__main__":
    typer.run(main)
