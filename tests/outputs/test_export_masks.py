"""Masks beside exported pictures: white where they were restored, lying on them as they are stored and as they are shown."""

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image

from repaint_batch.config import ImagesConfig
from repaint_batch.errors import StorageError
from repaint_batch.images.restoration import compose, prepare
from repaint_batch.jobs.plan import Plan
from repaint_batch.outputs.export import ExportFormat, export
from repaint_batch.table.results import ResultsTable
from repaint_batch.uris import join

from ..conftest import Place
from ..images.corpus import photograph, saved
from ..publishing import publish
from ..report.fabricated import results
from .test_sources import BYTES, URIS, job, row_of

SIDE = 32
CONFIG = ImagesConfig(frames="all")


def turned_jpeg() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(Image.fromarray(photograph(3)), "JPEG", exif=exif)


def stack(*pages: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.stack(pages), photometric="minisblack", metadata=None)
    return buffer.getvalue()


def drawn(width: int, height: int, left: int | None = 4) -> np.ndarray:
    pixels = np.zeros((height, width), np.uint8)
    if left is not None:
        pixels[3:12, left : left + 8] = 255
    return pixels


def pairs() -> list[tuple[bytes, bytes]]:
    """Return pictures and masks: turned by EXIF, plain with boxes, without a hole, of two pages."""
    height, width = photograph(3).shape[:2]
    plain = saved(Image.fromarray(photograph(3)), "PNG")
    return [
        (turned_jpeg(), saved(Image.fromarray(drawn(height, width)), "PNG")),
        (plain, b'{"boxes": [[4, 3, 12, 12]]}'),
        (plain, saved(Image.fromarray(drawn(width, height, None)), "PNG")),
        (stack(drawn(40, 30), drawn(40, 30, 20)), stack(drawn(40, 30), drawn(40, 30, 30))),
    ]


def output(place: Place) -> tuple[Plan, list[bytes]]:
    """Restore the pairs and commit them."""
    given = [
        {"sample_id": f"id-{n}", "image": {"bytes": image}, "mask": {"bytes": mask}} for n, (image, mask) in enumerate(pairs())
    ]
    plan = job(place, given, BYTES, images={"frames": "all"})
    rows, done = [], []
    for number, (image, mask) in enumerate(pairs()):
        prepared = prepare(image, mask, CONFIG, SIDE)
        filled = np.full((len(prepared.plan), SIDE, SIDE, 3), 0.4, np.float32)
        data = compose(image, mask, filled, CONFIG, SIDE, "source").data if len(filled) else image
        facts: dict[str, Any] = {"output_format": prepared.format, "hole_fraction": prepared.hole_fraction}
        status = "ok" if len(filled) else "skipped"
        sha256 = hashlib.sha256(data).hexdigest()
        rows.append(row_of(plan, number, output=data, output_sha256=sha256, status=status, **facts))
        done.append(data)
    table = ResultsTable(plan.config["output"]["uri"], place.storage)
    table.create([])
    for shard in range(2):
        publish(table, plan, results(rows[2 * shard : 2 * shard + 2]), shard)
    return plan, done


def exported(place: Place, plan: Plan, way: ExportFormat) -> list[tuple[bytes, bytes]]:
    """Return the pictures and masks of an export, in the order of the rows."""
    target = join(place.uri, f"as {way}")
    done = export(plan.config["output"]["uri"], target, place.storage, format=way, masks=True)
    assert done.pictures == 4
    if way == "parquet":
        table = pq.read_table(Path(target, "data", "train-00000.parquet")).sort_by("sample_id").to_pylist()
        assert table[3]["mask"]["path"] == "id-3.tif.mask.tif"
        return [(row["image"]["bytes"], row["mask"]["bytes"]) for row in table]
    if way == "webdataset":
        with tarfile.open(Path(target, "restored-000000.tar")) as tar:
            members = {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]
        held = sorted(members)
        pictures = [name for name in held if ".mask." not in name and not name.endswith("json")]
        return [(members[name], members[next(m for m in held if m.startswith(f"{name[:9]}.mask."))]) for name in pictures]
    assert done.objects == 8
    found = {path.name: path.read_bytes() for path in Path(target).iterdir()}
    pictures = sorted(name for name in found if ".mask." not in name)
    return [(found[name], next(found[mask] for mask in found if mask.startswith(f"{name}.mask."))) for name in pictures]


@pytest.mark.parametrize("way", get_args(ExportFormat))
def test_masks_lie_on_their_pictures(local_place: Place, way: ExportFormat) -> None:
    plan, done = output(local_place)
    found = exported(local_place, plan, way)
    order = [done.index(data) if number != 2 else 2 for number, (data, _) in enumerate(found)]
    assert [data for data, _ in found] == [done[number] for number in order]
    height, width = photograph(3).shape[:2]
    turned, boxes, none = (Image.open(io.BytesIO(mask)) for _, mask in found[:3])
    assert (turned.size, turned.getexif()[0x0112]) == ((width, height), 6)
    shown = np.rot90(np.asarray(turned), -1)
    assert np.array_equal(shown, drawn(height, width))
    assert np.array_equal(np.asarray(boxes), drawn(width, height))
    assert not np.asarray(none).any()
    pages = [page.asarray() for page in tifffile.TiffFile(io.BytesIO(found[3][1])).pages]
    assert np.array_equal(pages, [drawn(40, 30), drawn(40, 30, 30)])
    for (data, mask), (_, given) in zip(found, pairs(), strict=True):
        assert prepare(data, mask, CONFIG, SIDE).hole_fraction == prepare(data, given, CONFIG, SIDE).hole_fraction


def test_another_mask_than_the_one_used_is_not_passed_on(local_place: Place) -> None:
    plan = job(local_place, [{"sample_id": "id-0", "image": "a.png", "mask": "m.png"}], URIS)
    data, mask = saved(Image.fromarray(drawn(40, 30)), "PNG"), join(local_place.uri, "m.png")
    facts = {"output_sha256": hashlib.sha256(data).hexdigest(), "output_format": "PNG", "hole_fraction": 72 / 1200}
    out = plan.config["output"]["uri"]
    table = ResultsTable(out, local_place.storage)
    table.create([])
    publish(table, plan, results([row_of(plan, 0, output=data, image_uri="a.png", mask_uri="m.png", **facts)]))
    with pytest.raises(StorageError, match=r"id-0: its mask m.png is gone or cannot be read; put it back, or export without"):
        export(out, join(local_place.uri, "one"), local_place.storage, masks=True)
    local_place.storage.write(mask, saved(Image.fromarray(255 - drawn(40, 30)), "PNG"))
    with pytest.raises(StorageError, match=r"id-0: its mask m.png is not the one that the picture was restored by"):
        export(out, join(local_place.uri, "two"), local_place.storage, masks=True)
    local_place.storage.write(mask, data)
    assert export(out, join(local_place.uri, "three"), local_place.storage, masks=True).objects == 2


def test_a_picture_never_takes_a_masks_name(local_place: Place) -> None:
    ids = ["a.png", "a.png.mask.png", "a"]
    given = [{"sample_id": name, "image": {"bytes": b""}, "mask": {"bytes": b'{"boxes": [[4, 3, 12, 12]]}'}} for name in ids]
    plan = job(local_place, given, BYTES)
    data = saved(Image.fromarray(drawn(40, 30)), "PNG")
    facts = {"output_sha256": hashlib.sha256(data).hexdigest(), "output_format": "PNG", "hole_fraction": 72 / 1200}
    table = ResultsTable(plan.config["output"]["uri"], local_place.storage)
    table.create([])
    rows = [row_of(plan, n, output=data, **facts, sample_id=name) for n, name in enumerate(ids)]
    for shard in range(2):
        publish(table, plan, results(rows[2 * shard : 2 * shard + 2]), shard)
    export(plan.config["output"]["uri"], join(local_place.uri, "all"), local_place.storage, masks=True)
    names = {path.name for path in Path(local_place.uri, "all").iterdir()}
    assert len(names) == 6
    pictures = {name for name in names if f"{name}.mask.png" in names}
    assert len(pictures) == 3
