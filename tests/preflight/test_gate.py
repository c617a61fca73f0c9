"""A job starts unless nothing would come of it, or it costs too much."""

from pathlib import Path

import pytest

from repaint_batch.errors import ConfigError, ManifestError
from repaint_batch.manifest import open_manifest
from repaint_batch.preflight import before_run

from ..conftest import Place
from ..corpus import SIZE_PX, job, rows, save_tiny_prior, write_manifest


def test_one_good_row_is_enough_and_none_is_refused(local_place: Place) -> None:
    corpus = rows(3)
    for row in corpus[1:]:
        row["image"] = {"bytes": b"broken", "path": None}
    uri = write_manifest(local_place, corpus)
    config, storage = job(local_place, uri, "unused"), local_place.storage
    assert before_run(config, open_manifest(uri, storage), storage, SIZE_PX).failing == 2
    corpus[0]["mask"] = {"bytes": None, "path": "gone.png"}
    manifest = open_manifest(write_manifest(local_place, corpus), storage)
    with pytest.raises(ManifestError, match=r"all of the 3 rows .*missing: 1 of 3 .*unreadable picture: 2 of 3"):
        before_run(config, manifest, storage, SIZE_PX)


def test_a_budget_is_held_against_a_probe(local_place: Place, tmp_path: Path) -> None:
    uri, prior = write_manifest(local_place, rows(2)), save_tiny_prior(tmp_path / "prior")
    storage = local_place.storage
    manifest = open_manifest(uri, storage)
    dear = job(local_place, uri, prior, compute={"price_per_gpu_hour": 1e12, "budget": 1.0})
    with pytest.raises(ConfigError, match=r"more than compute.budget = 1.00"):
        before_run(dear, manifest, storage, SIZE_PX)
    cheap = job(local_place, uri, prior, compute={"price_per_gpu_hour": 1.0, "budget": 1.0})
    assert before_run(cheap, manifest, storage, SIZE_PX).failing == 0
