"""Make the demo's corpus from held-out photographs: ``python jobs/make_demo_corpus.py data/photos``.

The folder is that of `configs/prior-photo.yaml`. Every photograph is CC0 or in the public domain and held out: the bundled prior
has never seen it. Each crop has damage of one kind, with a seed that asks for few windows, so that the demo takes two minutes.
"""

import io
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from repaint_batch.config import load_config
from repaint_batch.damage.drawing import DAMAGE, DamageName, draw_damage
from repaint_batch.evaluate.metrics import hole_psnr, hole_ssim
from repaint_batch.evaluate.rivals import telea
from repaint_batch.images.windows import plan_windows
from repaint_batch.priors.pictures import held_out
from repaint_batch.priors.train_config import TrainConfig
from repaint_batch.schema import IMAGE_STRUCT

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "repaint_batch" / "assets" / "demo.parquet"
SIZE_PX, PRIOR_PX = 256, 64
CREDITS = {
    "budgie-perched-osprey": "Perched osprey, Budgie backgrounds, CC0",
    "budgie-roman-colosseum": "Roman Colosseum, Budgie backgrounds, CC0",
    "budgie-tea-gardens": "Tea gardens, Budgie backgrounds, CC0",
    "elementary-sunset-by-the-pier": "Sunset by the pier, elementary wallpapers, public domain",
    "pop-os-kait-herzog-8242": "Kait Herzog, Pop!_OS wallpapers, public domain",
}
CROPS: dict[DamageName, tuple[tuple[str, float, float, float], ...]] = {
    "scratches": (
        ("budgie-perched-osprey", 0.5, 0.5, 0.3),
        ("elementary-sunset-by-the-pier", 0.3, 0.2, 0.5),
        ("budgie-roman-colosseum.native0", 0.5, 0.5, 0.5),
    ),
    "dust": (
        ("budgie-tea-gardens", 0.3, 0.8, 0.5),
        ("budgie-roman-colosseum", 0.3, 0.8, 0.5),
        ("pop-os-kait-herzog-8242.native1", 0.5, 0.5, 0.5),
    ),
    "crease": (
        ("pop-os-kait-herzog-8242", 0.3, 0.2, 0.5),
        ("elementary-sunset-by-the-pier", 0.5, 0.5, 1.0),
        ("budgie-perched-osprey.native0", 1.0, 0.3, 0.3),
    ),
    "stain": (
        ("budgie-perched-osprey.native0", 0.5, 0.5, 0.5),
        ("budgie-tea-gardens", 0.5, 0.5, 1.0),
        ("pop-os-kait-herzog-8242", 0.5, 1.0, 0.9),
    ),
    "stamp": (
        ("budgie-perched-osprey", 0.5, 1.0, 0.9),
        ("budgie-roman-colosseum", 0.5, 0.5, 1.0),
        ("elementary-sunset-by-the-pier.native0", 0.5, 0.5, 0.5),
    ),
    "writing": (
        ("elementary-sunset-by-the-pier", 0.5, 0.5, 0.3),
        ("budgie-tea-gardens.native1", 0.5, 0.5, 0.5),
        ("pop-os-kait-herzog-8242", 0.5, 0.0, 0.9),
    ),
    "torn": (
        ("budgie-roman-colosseum", 0.3, 0.2, 0.5),
        ("budgie-tea-gardens.native0", 0.5, 0.5, 0.5),
        ("pop-os-kait-herzog-8242.native0", 0.5, 0.5, 0.5),
    ),
    "object": (
        ("budgie-perched-osprey", 0.3, 0.2, 0.5),
        ("budgie-roman-colosseum.native1", 0.5, 0.5, 0.5),
        ("elementary-sunset-by-the-pier.native1", 0.5, 0.5, 0.5),
    ),
}
"""By kind of damage: file, scale, and where the crop lies, from 0 (left, top) to 1."""
MOST_WINDOWS = 6


def crop(path: Path, scale: float, right: float, down: float) -> bytes:
    """Return a crop of the photograph, as a WebP of good quality: what this decodes to is the demo's truth."""
    image = Image.open(path).convert("RGB")
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    left, top = round((image.width - SIZE_PX) * right), round((image.height - SIZE_PX) * down)
    return encoded(np.asarray(image.crop((left, top, left + SIZE_PX, top + SIZE_PX))), "WEBP", quality=90, method=6)


def encoded(pixels: np.ndarray, format: str, **options: int | bool) -> bytes:
    """Return an encoded picture."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def tensor(pixels: np.ndarray) -> torch.Tensor:
    """Return (1, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


def row(
    photos: Path, held: tuple[str, ...], kind: DamageName, number: int, where: tuple[str, float, float, float]
) -> dict[str, object]:
    """Return one row of the manifest; all but sample_id, image and mask are the demo's own columns."""
    name, *place = where
    if not held_out(name + ".jpg", None, held):
        raise SystemExit(f"{name} is not held out")
    original = crop(photos / f"{name}.jpg", *place)
    truth = np.asarray(Image.open(io.BytesIO(original)).convert("RGB"))
    drawn = (draw_damage(kind, SIZE_PX, SIZE_PX, 100 * number + seed) for seed in range(100))
    damage = next(one for one in drawn if len(plan_windows(~one.hole, PRIOR_PX)) <= MOST_WINDOWS)
    damaged = damage.over(truth)
    filled, keep = telea(damaged, damage.hole), torch.from_numpy(~damage.hole)[None, None]
    return {
        "sample_id": f"{kind}/{name}-{number}",
        "image": {"bytes": encoded(damaged, "PNG", optimize=True), "path": None},
        "mask": {"bytes": encoded(damage.hole.astype(np.uint8) * 255, "PNG", optimize=True), "path": None},
        "original": original,
        "kind": kind,
        "credit": CREDITS[name.partition(".native")[0]],
        "telea": encoded(filled, "WEBP", quality=90, method=6),
        "telea_psnr_db": float(hole_psnr(tensor(filled), tensor(truth), keep)),
        "telea_ssim": float(hole_ssim(tensor(filled), tensor(truth), keep)),
    }


def main(photos: Path) -> None:
    """Write the corpus, and say what it will cost."""
    held = load_config(ROOT / "configs" / "prior-photo.yaml", TrainConfig).held_out
    rows = [row(photos, held, kind, number, where) for kind in DAMAGE for number, where in enumerate(CROPS[kind])]
    own = [("original", pa.binary()), ("kind", pa.string()), ("credit", pa.string()), ("telea", pa.binary())]
    figures = [("telea_psnr_db", pa.float64()), ("telea_ssim", pa.float64())]
    schema = pa.schema([("sample_id", pa.string()), ("image", IMAGE_STRUCT), ("mask", IMAGE_STRUCT), *own, *figures])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), TARGET)
    holes = [np.asarray(Image.open(io.BytesIO(one["mask"]["bytes"]))) < 128 for one in rows]  # type: ignore[index]
    windows = sum(len(plan_windows(hole, PRIOR_PX)) for hole in holes)
    print(f"{len(rows)} pictures, {windows} windows of {PRIOR_PX} px, {TARGET.stat().st_size / 1e6:.1f} MB: {TARGET}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
