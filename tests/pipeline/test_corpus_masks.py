"""Masks of a corpus by Ray, and jobs that find theirs."""

import io
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from PIL import Image

from repaint_batch.cli.masks import find
from repaint_batch.config import ImagesConfig
from repaint_batch.jobs.plan import load_plans
from repaint_batch.manifest import open_manifest, read_rows
from repaint_batch.outputs.sources import Sources
from repaint_batch.outputs.verify import verify
from repaint_batch.pipeline.replay import replay
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import encoded, job, rows, write_manifest
from ..damage.torn import SIDE_PX, torn
from ..restored import restore_here


@pytest.mark.usefixtures("ray_cluster")
def test_masks_of_a_folder_are_found_once(local_place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    storage, uri = local_place.storage, local_place.uri
    stamp = np.zeros((SIDE_PX, SIDE_PX, 1), bool)
    stamp[40:56, 24:60] = True
    for number in range(18):
        pixels = np.asarray(Image.open(io.BytesIO(torn(number, is_torn=number == 3))))
        storage.write(f"{uri}/pictures/{number:02d}.png", encoded(np.where(stamp, pixels // 2 + 120, pixels).astype(np.uint8)))
    storage.write(f"{uri}/pictures/broken.png", b"no picture")
    storage.write(f"{uri}/pictures/odd.png", torn(40, is_torn=False)[:-1] + b"x")
    arguments = {"to": f"{uri}/found/m.parquet", "images": f"{uri}/pictures", "kinds": ["edges", "overlay"]}
    assert find(**arguments) == 3
    said = " ".join(capsys.readouterr().out.split())
    assert "edges 1 pictures" in said
    assert "overlay 19 pictures" in said, "it is taken to lie on every picture of that size"
    assert "not looked at: broken.png" in said
    manifest = open_manifest(f"{uri}/found/m.parquet", storage)
    found = {row["sample_id"]: row for row in read_rows(manifest.files, 0, manifest.rows, storage).to_pylist()}
    assert len(found) == 19
    assert set(found["03.png"]["kinds"]) == {"overlay", "edges"}
    mask = np.asarray(Image.open(io.BytesIO(storage.read(f"{uri}/found/{found['05.png']['mask']}"))))
    assert (mask & stamp[..., 0]).sum() / (mask | stamp[..., 0]).sum() > 0.6  # it is grown by two pixels
    before = {uri: info["modified"] for uri, info in storage.list(f"{uri}/found/masks")}
    find(**arguments)
    assert {uri: info["modified"] for uri, info in storage.list(f"{uri}/found/masks")} == before


KILLED = """
import os, signal, sys
from repaint_batch.cli.masks import _listed
from repaint_batch.config import ComputeConfig, FindConfig, ImagesConfig, StorageConfig
from repaint_batch.pipeline.corpus_masks import Search, find_masks
from repaint_batch.storage import Storage

folder, manifest, address, store = sys.argv[1:]
config = StorageConfig.model_validate_json(store)
rows = _listed(None, manifest, folder, Storage(config))
search = Search(FindConfig(find=("edges",)), ImagesConfig(), config, folder)
find_masks(rows, search, ComputeConfig(address=address), lambda done: done and os.kill(os.getpid(), signal.SIGKILL))
"""


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_search_on_s3_that_was_killed_goes_on(s3_place: Place) -> None:
    storage, uri, folder, store = s3_place.storage, s3_place.uri, f"{s3_place.uri}/found", s3_place.config
    for number in range(4):
        storage.write(f"{uri}/pictures/{number}.png", torn(number, is_torn=number < 2))
    ids, images = [f"{row:03d}" for row in range(160)], [f"pictures/{row % 4}.png" for row in range(160)]
    corpus = pa.table({"sample_id": ids, "image": images})
    held = io.BytesIO()
    pq.write_table(corpus.append_column("mask", corpus["image"]), held)
    storage.write(f"{uri}/m.parquet", held.getvalue())
    address = ray.get_runtime_context().gcs_address
    arguments = [sys.executable, "-c", KILLED, folder, f"{uri}/m.parquet", address, store.model_dump_json()]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    before = {part: info["modified"] for part, info in storage.list(f"{folder}/found")}
    assert 0 < len(before) < 10
    asked = {"kinds": ["edges"], "address": address, "endpoint_url": store.endpoint_url}
    assert find(f"{folder}/m.parquet", manifest=f"{uri}/m.parquet", **asked) == 0
    parts = {part: info["modified"] for part, info in storage.list(f"{folder}/found")}
    assert len(parts) == 10
    assert {part: parts[part] for part in before} == before, "what was done is not done again"
    manifest = open_manifest(f"{folder}/m.parquet", storage)
    found = read_rows(manifest.files, 0, manifest.rows, storage).to_pylist()
    assert [row["sample_id"] for row in found] == [f"{row:03d}" for row in range(160) if row % 4 < 2]
    # The same pictures as a prefix have the same masks.
    assert find(f"{uri}/again/m.parquet", images=f"{uri}/pictures", **asked) == 0
    for number in range(2):
        assert storage.read(f"{uri}/again/masks/{number}.png.png") == storage.read(f"{folder}/masks/{number:03d}.png")


def test_a_job_finds_keeps_and_replays(place: Place, tiny_prior: str) -> None:
    corpus = rows(4)
    for number in (1, 2):
        data = torn(number, is_torn=number == 1)
        corpus[number] |= {"image": {"bytes": data, "path": None}, "mask": {"bytes": None, "path": None}}
    config = job(place, write_manifest(place, corpus), tiny_prior, images={"masks": {"find": ["edges"]}})
    restore_here(config)
    out, storage = config.output.uri, place.storage
    done = {row["sample_id"]: row for row in ResultsTable(out, storage).open().to_pyarrow_table().to_pylist()}
    assert [done[f"picture-000{number}"]["status"] for number in range(4)] == ["ok", "ok", "skipped", "ok"]
    assert "no damage" in done["picture-0002"]["reason"]
    torn_row = done["picture-0001"]
    assert torn_row["mask_uri"].startswith(f"{out}/masks/")
    _, mask, _ = Sources(out, storage, load_plans(out, storage))(torn_row)
    assert mask is not None
    assert np.asarray(Image.open(io.BytesIO(mask))).mean() == pytest.approx(torn_row["hole_fraction"])
    assert verify(out, storage).problems == []
    assert all(replay(out, f"picture-000{number}", storage).is_equal for number in (1, 2))


def test_without_the_setting_a_row_needs_a_mask(local_place: Place, tiny_prior: str) -> None:
    corpus = rows(1)
    corpus[0]["mask"] = {"bytes": None, "path": None}
    config = job(local_place, write_manifest(local_place, corpus), tiny_prior)
    restore_here(config)
    (row,) = ResultsTable(config.output.uri, local_place.storage).rows(("status", "reason"))
    assert row == {"status": "failed", "reason": "mask is null; give it a URI or bytes"} | {"reason": row["reason"]}
    assert "mask is null" in row["reason"]


@pytest.mark.parametrize(
    ("images", "says"),
    [
        ({"masks": {"find": ["overlay"]}}, "masks find"),
        ({"masks": {"find": ["dust"]}, "hole": "black"}, "white where damaged"),
        ({"masks": {"find": []}}, "at least 1"),
    ],
)
def test_settings_that_cannot_be_honoured(images: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ImagesConfig.model_validate(images)
