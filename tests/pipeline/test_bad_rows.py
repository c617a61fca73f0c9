"""Every kind of bad row that we know of through one real job: one row each, the right status, a reason, no neighbour harmed."""

import os
import pickle
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from repaint_batch.config import StorageConfig
from repaint_batch.manifest import result_id
from repaint_batch.outputs.verify import verify
from repaint_batch.pipeline.run import run_job
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import encoded, hole, job, picture, rows, write_manifest
from ..images.corpus import Odd, make, photograph, png_chunk, saved
from ..restored import restore_here
from .conftest import Recorder

WIDE = (20_000, 10)


def bomb(width: int, height: int) -> bytes:
    """Return a PNG that says it is huge, and is a few bytes long."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", b"x\x9c") + png_chunk(b"IEND", b"")


def damaged(data: bytes) -> bytes:
    """Return a PNG with one bit of its pixels the other way round."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def animated() -> bytes:
    frames = [Image.fromarray(picture(number)) for number in range(3)]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


def float_tiff(value: float) -> bytes:
    samples = photograph(1)[..., 0].astype(np.float32)
    samples[3, 3] = value
    return saved(Image.fromarray(samples), "TIFF")


def box(width: int, height: int) -> bytes:
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2 + 1, width // 4 : width // 4 + 6] = 255
    return encoded(mask)


def dust(width: int, height: int) -> bytes:
    mask = np.zeros((height, width), np.uint8)
    mask[::5, ::7] = 255
    return encoded(mask)


def odd(name: str) -> Odd:
    (found,) = [one for one in make() if one.name == name]
    return found


PLAIN, MASK = encoded(picture(0)), encoded(hole(0))
ODD = ("jpeg cmyk", "png 1-bit", "png grey 16-bit", "png rgb 16-bit", "png palette transparent index", "jpeg corrupt exif",
       "jpeg corrupt icc", "png corrupt icc", "jpeg orientation 6", "tiff rgb 16-bit lzw")  # fmt: skip
"""Odd, and good."""

# What it is: (image, mask, status, error class, what the reason says). Bytes are bytes and texts are URIs.
KINDS: dict[str, tuple[Any, Any, str, str | None, str]] = {
    "decompression bomb": (bomb(60_000, 60_000), MASK, "failed", "ImageInvalid", "not decoded"),
    "decompression bomb as mask": (PLAIN, bomb(60_000, 60_000), "failed", "MaskInvalid", "not decoded"),
    "header without pixels": (bomb(16, 16), MASK, "failed", "ImageInvalid", "damaged"),
    "truncated jpeg": (saved(Image.fromarray(photograph(3)), "JPEG")[:-300], MASK, "failed", "ImageInvalid", "truncated"),
    "truncated png": (PLAIN[:-40], MASK, "failed", "ImageInvalid", "truncated"),
    "a bit flipped": (damaged(PLAIN), MASK, "failed", "ImageInvalid", "damaged"),
    "zero bytes": (b"", MASK, "failed", "ImageInvalid", "zero bytes"),
    "zero bytes as mask": (PLAIN, b"", "failed", "MaskInvalid", "zero bytes"),
    "wrong extension": ("pictures/really-a-png.jpg", MASK, "ok", None, ""),
    "html": (b"<html><body>404</body></html>", MASK, "failed", "ImageInvalid", "HTML page"),
    "html as mask": (PLAIN, b"<!DOCTYPE html><p>no", "failed", "MaskInvalid", "HTML page"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", MASK, "failed", "ImageInvalid", "SVG"),
    "pickle": (pickle.dumps([os.getcwd()]), MASK, "failed", "ImageInvalid", "no picture in a known format"),
    "missing object": ("pictures/none.png", MASK, "failed", "SourceMissing", "no such object"),
    "missing mask": (PLAIN, "masks/none.png", "failed", "SourceMissing", "no such object"),
    "may not be read": ("pictures/locked.png", MASK, "failed", "SourceMissing", "may not be read"),
    "a folder": ("pictures", MASK, "failed", "SourceMissing", "may not be read"),
    "a pipe": ("pictures/pipe.png", MASK, "failed", "SourceMissing", "may not be read"),
    "a device": ("pictures/zero.png", MASK, "failed", "UriRefused", "link that leaves"),
    "null image": (None, MASK, "failed", "SourceMissing", "image is null"),
    "null mask": (PLAIN, None, "failed", "SourceMissing", "mask is null"),
    "too many bytes": (PLAIN + b"\0" * 3_000_000, MASK, "failed", "ImageInvalid", "images.max_bytes"),
    "too many bytes in a file": ("pictures/long.png", MASK, "failed", "SourceMissing", "images.max_bytes"),
    "mask of another size": (PLAIN, encoded(hole(0, 8)), "failed", "MaskInvalid", "8x8"),
    "mask all known": (PLAIN, encoded(np.zeros((16, 16), np.uint8)), "skipped", None, "no hole"),
    "mask all hole": (PLAIN, encoded(np.full((16, 16), 255, np.uint8)), "ok", None, ""),
    "too many windows": (encoded(np.zeros((10, 40_000, 3), np.uint8)), dust(40_000, 10), "failed", "MaskInvalid", "max_windows"),
    "animated": (animated(), MASK, "failed", "ImageInvalid", "several frames"),
    "1x1": (encoded(np.full((1, 1, 3), 7, np.uint8)), encoded(np.full((1, 1), 255, np.uint8)), "ok", None, ""),
    "20000x10": (encoded(np.resize(picture(0), (10, 20_000, 3))), box(*WIDE), "ok", None, ""),
    "not a number": (float_tiff(float("nan")), box(70, 52), "failed", "ImageInvalid", "finite"),
    "infinite": (float_tiff(float("inf")), box(70, 52), "failed", "ImageInvalid", "finite"),
    "path traversal": ("../secret.png", MASK, "failed", "UriRefused", r"'\.\.' is not allowed"),
    "absolute path": ("/etc/passwd", MASK, "failed", "UriRefused", "outside"),
    "foreign scheme": ("http://169.254.169.254/latest/meta-data", MASK, "failed", "UriRefused", "only s3://"),
    "chained": ("simplecache::s3://bucket/a.png", MASK, "failed", "UriRefused", "only s3://"),
    "endpoint in the URI": ("s3://bucket/a.png?endpoint_override=http://evil", MASK, "failed", "UriRefused", "outside"),
    "credentials in the URI": ("s3://key:hunter2@bucket/a.png", MASK, "failed", "UriRefused", "without credentials"),
    "another bucket": ("s3://somebody-else/a.png", MASK, "failed", "UriRefused", "storage.allow"),
    "zero in the URI": ("a\0.png", MASK, "failed", "UriRefused", ""),
    "a/b/../c/ü/日本\t'\"; drop table": (PLAIN, MASK, "ok", None, ""),
    "i" * 1024: (PLAIN, MASK, "ok", None, ""),
    "ü" * 5_000_000: (PLAIN, MASK, "failed", "SampleError", "sample_id has 10,000,000 bytes, more than 1,024"),
    **{name: (odd(name).data, None, "ok", None, "") for name in ODD},
}


def value_of(content: Any) -> dict[str, Any] | None:
    if content is None:
        return None
    return {"bytes": content, "path": None} if isinstance(content, bytes) else {"bytes": None, "path": content}


def corpus() -> list[dict[str, Any]]:
    """Return every kind, each between two good rows."""
    good = rows(len(KINDS) + 1)
    bad = []
    for name, (image, mask, *_) in KINDS.items():
        if name in ODD:
            mask = box(*reversed(photograph(1).shape[:2]))
        bad.append({"sample_id": name, "image": value_of(image), "mask": value_of(mask), "note": name})
    return [row for pair in zip(good, bad, strict=False) for row in pair] + good[-1:]


@dataclass(frozen=True)
class Done:
    """What came of it.

    Attributes:
        place: where the job over everything is.
        rows: its results.
        good_alone: results of a job over the good rows, run without Ray.
    """

    place: Place
    rows: list[dict[str, Any]]
    good_alone: list[dict[str, Any]]


@pytest.fixture(scope="module")
def done(ray_cluster: None, tiny_prior: str, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """One job over all of it, and one over the good rows alone."""
    places = [Place(str(tmp_path_factory.mktemp(name)), StorageConfig()) for name in ("mixed", "good")]
    mixed, good = places
    pictures = Path(mixed.uri, "pictures")
    pictures.mkdir()
    (pictures / "really-a-png.jpg").write_bytes(PLAIN)
    (pictures / "long.png").write_bytes(PLAIN + b"\0" * 3_000_000)
    (pictures / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(pictures / "pipe.png")
    (pictures / "locked.png").mkdir() if os.geteuid() == 0 else (pictures / "locked.png").touch(0o000)
    Path(mixed.uri).parent.joinpath("secret.png").write_bytes(PLAIN)
    everything = corpus()
    limits = {"images": {"max_bytes": 2_000_000}, "compute": {"shard_rows": 16, "batch_windows": 8}}
    run_job(job(mixed, write_manifest(mixed, everything), tiny_prior, **limits), Recorder())
    restore_here(job(good, write_manifest(good, everything[::2]), tiny_prior, **limits))
    return Done(mixed, *(list(ResultsTable(f"{place.uri}/out", place.storage).rows()) for place in places))


def test_every_row_comes_out_once(done: Done) -> None:
    assert len(KINDS) >= 50
    assert sorted(row["sample_id"] for row in done.rows) == sorted(result_id(row["sample_id"]) for row in corpus())
    assert all(row["note"] for row in done.rows)


@pytest.mark.parametrize("name", KINDS, ids=lambda name: name[:40])
def test_a_bad_row_says_what_is_wrong_with_it(done: Done, name: str) -> None:
    (row,) = [row for row in done.rows if row["sample_id"] == result_id(name)]
    *_, status, error_class, says = KINDS[name]
    assert (row["status"], row["error_class"]) == (status, error_class), row["reason"]
    assert re.search(says, row["reason"] or "")
    if status == "failed":
        assert row["output"] is None
        assert 10 < len(row["reason"]) < 500
        assert "unexpected" not in row["reason"]
        assert "hunter2" not in str(row)


def test_no_neighbour_is_harmed(done: Done) -> None:
    mixed, good = ({row["sample_id"]: row["output"] for row in found} for found in (done.rows, done.good_alone))
    assert len(good) == len(KINDS) + 1
    assert {name: mixed[name] for name in good} == good
    assert verify(f"{done.place.uri}/out", done.place.storage).problems == []
