"""One row again, without Ray, to the byte."""

import hashlib

import pytest

from repaint_batch.errors import ConfigError, NothingToResume
from repaint_batch.pipeline.replay import replay
from repaint_batch.pipeline.run import run_job
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import encoded, hole, job, picture, rows, save_tiny_prior, write_manifest
from ..restored import restore_here
from .conftest import Recorder


@pytest.mark.usefixtures("ray_cluster")
def test_a_row_of_a_job_on_ray_comes_out_the_same_alone(local_place: Place, tiny_prior: str, recorder: Recorder) -> None:
    corpus = rows(6)
    corpus[2]["sample_id"] = "it's"
    corpus[3]["mask"] = {"bytes": encoded(hole(3) * 0), "path": None}
    config = job(local_place, write_manifest(local_place, corpus), tiny_prior, output={"images": "files"})
    run_job(config, recorder)
    before = {uri: info["modified"] for uri, info in local_place.storage.list(config.output.uri)}
    for sample_id in ("picture-0000", "it's", "picture-0005", "picture-0003"):
        done = replay(config.output.uri, sample_id, local_place.storage)
        assert done.is_equal, done.difference
        assert hashlib.sha256(done.again["output"]).hexdigest() == done.row["output_sha256"]
        assert done.row["sample_id"] == sample_id
    assert {uri: info["modified"] for uri, info in local_place.storage.list(config.output.uri)} == before, "nothing is written"


def test_differences_are_found_and_explained(place: Place, tiny_prior: str) -> None:
    corpus = rows(3)
    corpus[1]["image"] = {"bytes": None, "path": "pictures/1.png"}
    place.storage.write(f"{place.uri}/pictures/1.png", encoded(picture(1)))
    config = job(place, write_manifest(place, corpus), tiny_prior)
    restore_here(config)
    out = config.output.uri
    place.storage.write(f"{place.uri}/pictures/1.png", encoded(picture(8)))
    assert "not what it was" in str(replay(out, "picture-0001", place.storage).difference)
    place.storage.delete(f"{place.uri}/pictures/1.png")
    assert "it fails now: SourceMissing" in str(replay(out, "picture-0001", place.storage).difference)
    ResultsTable(out, place.storage).open().update(
        predicate="sample_id = 'picture-0000'", updates={"output_sha256": "'0'"}
    )
    assert "came out differently" in str(replay(out, "picture-0000", place.storage).difference)
    assert replay(out, "picture-0002", place.storage).difference is None


def test_what_cannot_be_replayed(local_place: Place, tmp_path_factory: pytest.TempPathFactory) -> None:
    corpus = rows(2)
    corpus[1]["image"] = {"bytes": b"broken", "path": None}
    folder = tmp_path_factory.mktemp("prior")
    config = job(local_place, write_manifest(local_place, corpus), save_tiny_prior(folder))
    with pytest.raises(NothingToResume, match=r"picture-0000.*no such row"):
        replay(config.output.uri, "picture-0000", local_place.storage)
    restore_here(config)
    with pytest.raises(NothingToResume, match=r"nobody.*no such row"):
        replay(config.output.uri, "nobody", local_place.storage)
    with pytest.raises(ConfigError, match=r"picture-0001 failed \(ImageInvalid\)"):
        replay(config.output.uri, "picture-0001", local_place.storage)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ConfigError, match="other weights"):
        replay(config.output.uri, "picture-0000", local_place.storage)
