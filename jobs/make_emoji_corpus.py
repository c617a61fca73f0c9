"""Make the corpus of benchmarks from held-out emoji pictures: ``python jobs/make_emoji_corpus.py data/node_modules``.

The same packages as for `configs/prior-emoji.yaml`. Every picture belongs to the held-out split: the bundled prior has never
seen it, nor any variant of it.
"""

import io
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from repaint_batch.evaluate.paper_masks import paper_mask
from repaint_batch.priors.pictures import held_out, square
from repaint_batch.schema import IMAGE_STRUCT

SIZE_PX = 32
TARGET = Path(__file__).parent.parent / "repaint_batch" / "assets" / "emoji.parquet"
FOLDERS = {
    "noto": "emoji-datasource-google/img/google/64/{}.png",
    "twemoji": "emoji-datasource-twitter/img/twitter/64/{}.png",
    "fluent": "@lobehub/fluent-emoji-3d/assets/{}.webp",
}
PICTURES = {
    "strokes": """noto/1f37f noto/1f3d8-fe0f noto/1f3f0 noto/1f6a2 noto/1f3bb fluent/1f3f0 noto/1f348 noto/1f413
        fluent/1f6a2 noto/1f9d1-200d-1f692 noto/1f923 fluent/1f381""",
    "boxes": """noto/1f341 noto/1f369 noto/1f381 twemoji/1f341 twemoji/1f625 noto/1f405 twemoji/1f49c fluent/1f92a
        noto/1f498 noto/1f9db fluent/1f43b noto/1f9b8""",
    "halves": """noto/1f604 fluent/1f606 noto/1f633 noto/1f43b noto/1f49c noto/1f430 noto/1f3c6 noto/1f9d2
        twemoji/1f606 fluent/1f633 noto/1f535 twemoji/1f43b""",
}


def keep_mask(kind: str, seed: int) -> np.ndarray:
    """Return (H, W) bool, True = known pixel."""
    if kind == "boxes":
        rng = np.random.default_rng(seed)
        (top, left), (height, width) = rng.integers(5, 14, 2), rng.integers(11, 15, 2)
        keep = np.ones((SIZE_PX, SIZE_PX), dtype=bool)
        keep[top : top + height, left : left + width] = False
        return keep
    name = "wide" if kind == "strokes" else "half"
    return np.asarray(paper_mask(name, SIZE_PX, SIZE_PX, seed)[0])


def png(pixels: np.ndarray) -> bytes:
    """Return an encoded picture."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def rows(packages: Path) -> list[dict[str, object]]:
    """Return the manifest's rows; `original` and `kind` are columns of its own."""
    found: list[dict[str, object]] = []
    for kind, names in PICTURES.items():
        for name in names.split():
            vendor, code = name.split("/")
            path = packages / FOLDERS[vendor].format(code)
            if not held_out(str(path), 20):
                raise SystemExit(f"{path} is not held out")
            original = np.asarray(square(Image.open(path), SIZE_PX))
            keep = keep_mask(kind, len(found))
            damaged = np.where(keep[..., None], original, np.uint8(190))
            mask = np.where(keep, 0, 255).astype(np.uint8)
            found.append({
                "sample_id": f"{kind}/{name}",
                "image": {"bytes": png(damaged), "path": None},
                "mask": {"bytes": png(mask), "path": None},
                "original": png(original),
                "kind": kind,
            })
    return found


if __name__ == "__main__":
    columns = [("sample_id", pa.string()), ("image", IMAGE_STRUCT), ("mask", IMAGE_STRUCT)]
    schema = pa.schema([*columns, ("original", pa.binary()), ("kind", pa.string())])
    pq.write_table(pa.Table.from_pylist(rows(Path(sys.argv[1])), schema=schema), TARGET)
