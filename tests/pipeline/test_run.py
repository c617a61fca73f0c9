"""Whole jobs on a real Ray cluster: local files and S3 alike."""

import hashlib
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from repaint_batch.config import ComputeConfig, JobConfig
from repaint_batch.errors import ConfigError, ManifestError
from repaint_batch.outputs.dead_letters import retry_configs
from repaint_batch.outputs.status import read_status
from repaint_batch.outputs.verify import verify
from repaint_batch.pipeline.replay import replay
from repaint_batch.pipeline.run import actor_resources, run_job
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import SIZE_PX, encoded, hole, job, picture, rows, write_manifest
from ..restored import restore_here
from .conftest import Recorder

pytestmark = pytest.mark.usefixtures("ray_cluster")


def table_rows(config: JobConfig, place: Place) -> dict[str, dict[str, Any]]:
    found = list(ResultsTable(config.output.uri, place.storage).rows())
    assert len(found) == len({row["sample_id"] for row in found}), "a row stands in the table twice"
    return {row["sample_id"]: row for row in found}


def images(config: JobConfig, place: Place) -> dict[str, bytes]:
    return {name: row["output"] for name, row in table_rows(config, place).items()}


def test_rows_in_are_rows_out(place: Place, tiny_prior: str, recorder: Recorder) -> None:
    corpus = rows(10)
    corpus[1]["image"] = {"bytes": None, "path": "pictures/there.png"}
    place.storage.write(f"{place.uri}/pictures/there.png", encoded(picture(1)))
    corpus[2]["image"] = {"bytes": None, "path": "pictures/missing.png"}
    corpus[3]["image"] = {"bytes": b"<html>not a picture</html>", "path": None}
    corpus[4]["mask"] = {"bytes": encoded(hole(4, 8)), "path": None}
    corpus[5]["mask"] = {"bytes": encoded(np.zeros((SIZE_PX, SIZE_PX), np.uint8)), "path": None}
    corpus[6]["image"] = {"bytes": None, "path": "s3://somebody-else/secret.png"}
    corpus[7]["mask"] = None
    config = job(place, write_manifest(place, corpus), tiny_prior)

    summary = run_job(config, recorder)

    assert summary.exit_code == 3
    assert summary.counts == {"ok": 4, "skipped": 1, "failed": 5}
    assert (summary.rows_run, summary.rows_left) == (10, 0)
    assert recorder.updates[0] == (0, 0, 0)
    assert recorder.updates[-1] == (10, 3, 5)
    found = table_rows(config, place)
    assert [name for name, row in found.items() if row["status"] == "failed"] == [f"picture-000{i}" for i in (2, 3, 4, 6, 7)]
    classes = [found[f"picture-000{i}"]["error_class"] for i in (2, 3, 4, 6, 7)]
    assert classes == ["SourceMissing", "ImageInvalid", "MaskInvalid", "UriRefused", "SourceMissing"]
    assert all(row["reason"] for row in found.values() if row["status"] != "ok")
    assert [found[row["sample_id"]]["note"] for row in corpus] == [row["note"] for row in corpus]
    assert found["picture-0005"]["output"] == corpus[5]["image"]["bytes"], "a skipped picture passes through"
    assert summary.nfe == sum(row["nfe"] or 0 for row in found.values()) > 0
    for number in (0, 1, 8, 9):
        row = found[f"picture-000{number}"]
        restored = np.asarray(Image.open(io.BytesIO(row["output"])))
        keep = hole(number) == 0
        np.testing.assert_array_equal(restored[keep], picture(number)[keep])
        assert (restored[~keep] != picture(number)[~keep]).any()
        assert row["output_sha256"] == hashlib.sha256(row["output"]).hexdigest()
        assert row["output_bytes"] == len(row["output"])
        assert row["known_pixels_equal"]
        assert row["hole_fraction"] == pytest.approx(0.25)

    again = run_job(config, recorder)
    assert (again.rows_run, again.nfe, again.counts) == (0, 0, summary.counts)


def test_failed_rows_run_again_and_replace_the_old_ones(s3_place: Place, tiny_prior: str, recorder: Recorder) -> None:
    corpus = rows(6)
    for number in (1, 4):
        corpus[number]["image"] = {"bytes": None, "path": f"late/{number}.png"}
    config = job(s3_place, write_manifest(s3_place, corpus), tiny_prior)
    restore_here(config)
    assert read_status(config.output.uri, s3_place.storage).failed == 2
    untouched = images(config, s3_place)
    s3_place.storage.write(f"{s3_place.uri}/late/1.png", encoded(picture(1)))

    ((retry, failed),) = retry_configs(config.output.uri, s3_place.storage)
    assert run_job(retry, recorder, retry_of=failed.job_id).counts == {"ok": 5, "skipped": 0, "failed": 1}
    assert recorder.plans[-1].rows == 2

    s3_place.storage.write(f"{s3_place.uri}/late/4.png", encoded(picture(4)))
    ((retry, failed),) = retry_configs(config.output.uri, s3_place.storage)
    assert run_job(retry, recorder, retry_of=failed.job_id).counts == {"ok": 6, "skipped": 0, "failed": 0}
    found = images(config, s3_place)
    assert all(found[name] == data for name, data in untouched.items() if data is not None)
    assert retry_configs(config.output.uri, s3_place.storage) == []
    status = read_status(config.output.uri, s3_place.storage)
    assert (status.finished, status.missing, status.exit_code, len(status.jobs)) == (True, 0, 0, 3)


def test_images_do_not_depend_on_shards_or_actors(local_place: Place, tiny_prior: str, recorder: Recorder) -> None:
    manifest = write_manifest(local_place, rows(20))
    found = []
    for shard_rows, actors, gpus in ((4, 1, 0), (6, 2, 0.5)):
        compute = {"shard_rows": shard_rows, "actors": actors, "batch_windows": 4, "num_gpus": gpus, "precision": "float32"}
        config = job(local_place, manifest, tiny_prior, f"out-{shard_rows}-{actors}", compute=compute)
        assert run_job(config, recorder).counts["ok"] == 20
        found.append(images(config, local_place))
    assert all(other == found[0] for other in found[1:])


CHOICES: dict[str, dict[str, Any]] = {
    "plain": {},
    "bfloat16": {"precision": "bfloat16"},
    "auto": {"batch_windows": "auto"},
}


def test_a_job_whose_arithmetic_was_chosen(local_place: Place, tiny_prior: str, recorder: Recorder) -> None:
    manifest = write_manifest(local_place, rows(4))
    found = {}
    for name, compute in CHOICES.items():
        config = job(local_place, manifest, tiny_prior, name, compute=compute)
        restore_here(config)
        assert run_job(config, recorder).rows_run == 0, "the same job is found again"
        found[name] = images(config, local_place)
        replayed = replay(config.output.uri, "picture-0001", local_place.storage)
        assert replayed.is_equal, replayed.difference
    assert found["plain"] != found["bfloat16"]


@pytest.mark.slow
def test_a_compiled_job_is_replayed(local_place: Place, tiny_prior: str, recorder: Recorder) -> None:
    config = job(local_place, write_manifest(local_place, rows(4)), tiny_prior, compute={"compile": True})
    run_job(config, recorder)
    assert run_job(config, recorder).rows_run == 0, "the same job is found again"
    replayed = replay(config.output.uri, "picture-0001", local_place.storage)
    assert replayed.is_equal, replayed.difference


def test_images_as_files(s3_place: Place, tiny_prior: str, recorder: Recorder) -> None:
    corpus = rows(3)
    corpus[0]["sample_id"] = "../../etc/pässwd"
    config = job(s3_place, write_manifest(s3_place, corpus), tiny_prior, output={"images": "files"})
    assert run_job(config, recorder).counts["ok"] == 3
    for row in table_rows(config, s3_place).values():
        assert row["output"] is None
        assert row["output_uri"].startswith(f"{config.output.uri}/images/")
        assert hashlib.sha256(s3_place.storage.read(row["output_uri"])).hexdigest() == row["output_sha256"]
        assert ".." not in row["output_uri"].removeprefix(config.output.uri).split("/")


def test_images_as_tars(local_place: Place, tiny_prior: str, recorder: Recorder) -> None:
    tars = {"output": {"images": "webdataset"}, "compute": {"shard_rows": 3}}
    config = job(local_place, write_manifest(local_place, rows(5)), tiny_prior, **tars)
    assert run_job(config, recorder).counts["ok"] == 5
    found = table_rows(config, local_place)
    assert len({row["output_uri"] for row in found.values()}) == 2, "one a shard"
    assert all(row["output"] is None and row["finished_at"] for row in found.values())
    verified = verify(config.output.uri, local_place.storage)
    assert not verified.problems
    assert verified.rows["ok"] == 5


def test_an_output_belongs_to_one_job(local_place: Place, tiny_prior: str, recorder: Recorder) -> None:
    config = job(local_place, write_manifest(local_place, rows(2)), tiny_prior)
    restore_here(config)
    other = job(local_place, config.input.manifest, tiny_prior, sampler={"seed": 7})
    with pytest.raises(ConfigError, match=r"already holds job .*differs in: sampler.*choose another output"):
        run_job(other, recorder)
    more_actors = job(local_place, config.input.manifest, tiny_prior, compute={"actors": 2, "shard_rows": 1})
    assert run_job(more_actors, recorder).rows_run == 0, "how a job is run does not change what it is"


def test_a_changed_manifest_is_not_gone_on_with(local_place: Place, tiny_prior: str, recorder: Recorder) -> None:
    config = job(local_place, write_manifest(local_place, rows(3)), tiny_prior)
    restore_here(config)
    write_manifest(local_place, rows(4))
    with pytest.raises(ConfigError, match="manifest contents"):
        run_job(config, recorder)


def test_bad_manifest_is_refused_before_any_work(place: Place, tiny_prior: str, recorder: Recorder) -> None:
    corpus = rows(3)
    corpus[2]["sample_id"] = corpus[0]["sample_id"]
    config = job(place, write_manifest(place, corpus), tiny_prior)
    with pytest.raises(ManifestError, match="picture-0000"):
        run_job(config, recorder)
    assert not place.storage.exists(config.output.uri)


def test_actor_resources() -> None:
    two_cores = {"CPU": 2.0}
    found = actor_resources(ComputeConfig(actors=2), two_cores, may_grow=False)
    assert (found.least, found.most, found.num_gpus, found.threads) == (2, 2, 0, 1)
    assert found.most * found.num_cpus < 2, "something must be left for decoding and committing"
    assert actor_resources(ComputeConfig(), {"CPU": 8.0, "GPU": 1.0}, may_grow=False).num_gpus == 1
    with pytest.raises(ConfigError, match="takes 1 GPU, the cluster has 0"):
        actor_resources(ComputeConfig(num_gpus=1), two_cores, may_grow=False)
    with pytest.raises(ConfigError, match="least 3 is more than most 2"):
        actor_resources(ComputeConfig(actors=(3, 2)), two_cores, may_grow=True)


def test_actors_wait_for_nodes_that_may_still_join() -> None:
    compute = ComputeConfig(num_gpus=1, actors=(1, 16))
    with pytest.warns(UserWarning, match="takes 1 GPU, the cluster has 0; waiting for a node that has it"):
        found = actor_resources(compute, {"CPU": 2.0}, may_grow=True)
    assert (found.least, found.most, found.num_gpus) == (1, 16, 1)
    assert actor_resources(compute, {"CPU": 8.0, "GPU": 2.0}, may_grow=True).most == 16
    assert actor_resources(compute, {"CPU": 8.0, "GPU": 2.0}, may_grow=False).most == 2
