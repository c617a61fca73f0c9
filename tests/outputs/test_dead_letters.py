"""Failed rows as a manifest that anybody can run."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from repaint_batch.errors import ConfigError
from repaint_batch.manifest import open_manifest
from repaint_batch.outputs.dead_letters import retry_configs, write_dead_letters
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import encoded, job, picture, rows, write_manifest
from ..restored import restore_here


def read(uri: str, place: Place) -> pa.Table:
    filesystem, path = place.storage.arrow(uri)
    return pq.read_table(path, filesystem=filesystem)


def test_dead_letters_are_a_manifest(place: Place, tiny_prior: str) -> None:
    corpus = rows(7)
    corpus[1]["image"] = {"bytes": b"<html>not a picture</html>", "path": None}
    corpus[5]["image"] = {"bytes": None, "path": "late/5.png"}
    config = job(place, write_manifest(place, corpus), tiny_prior)
    restore_here(config)
    to = f"{place.uri}/elsewhere/failed.parquet"

    assert write_dead_letters(config.output.uri, to, place.storage) == 2
    assert open_manifest(to, place.storage).rows == 2
    first, second = read(to, place).to_pylist()
    assert (first["sample_id"], first["image"], first["note"]) == ("picture-0001", corpus[1]["image"], "note 1")
    assert (first["last_error_class"], second["last_error_class"]) == ("ImageInvalid", "SourceMissing")
    assert second["image"]["path"] == f"{place.uri}/late/5.png", "its URIs mean the same from everywhere"
    recorded = {row["sample_id"]: row for row in ResultsTable(config.output.uri, place.storage).rows()}
    for letter in (first, second):
        row = recorded[letter["sample_id"]]
        assert (letter["last_message"], letter["last_attempt"]) == (row["reason"], row["attempt"])

    # It runs as it stands, into an output of its own, and what fails again makes dead letters of dead letters.
    place.storage.write(f"{place.uri}/late/5.png", encoded(picture(5)))
    again = job(place, to, tiny_prior, "again", storage={"allow": [place.uri]})
    restore_here(again)
    assert ResultsTable(again.output.uri, place.storage).counts() == {"ok": 1, "skipped": 0, "failed": 1}
    assert write_dead_letters(again.output.uri, to, place.storage) == 1
    (letter,) = read(to, place).to_pylist()
    (row,) = ResultsTable(again.output.uri, place.storage).rows(where=[("status", "=", "failed")])
    assert letter["last_attempt"] == row["attempt"]
    last = ["last_error_class", "last_message", "last_attempt"]
    assert read(to, place).column_names == ["sample_id", "image", "mask", "note", *last]


def test_rows_of_several_jobs_go_into_one_file(local_place: Place, tiny_prior: str) -> None:
    corpus = rows(6)
    for number in (0, 5):
        corpus[number]["image"] = {"bytes": b"broken", "path": None}
    config = job(local_place, write_manifest(local_place, corpus), tiny_prior)
    restore_here(config)
    ((retry, failed),) = retry_configs(config.output.uri, local_place.storage)
    restore_here(retry.model_copy(update={"compute": retry.compute.model_copy(update={"shard_rows": 1})}),
                 retry_of=failed.job_id, shards=1)  # fmt: skip
    to = f"{local_place.uri}/failed.parquet"
    assert write_dead_letters(config.output.uri, to, local_place.storage) == 2
    assert sorted(read(to, local_place)["sample_id"].to_pylist()) == ["picture-0000", "picture-0005"]


def test_no_file_without_failures_or_by_another_name(local_place: Place, tiny_prior: str) -> None:
    config = job(local_place, write_manifest(local_place, rows(2)), tiny_prior)
    restore_here(config)
    to = f"{local_place.uri}/failed.parquet"
    assert write_dead_letters(config.output.uri, to, local_place.storage) == 0
    assert not local_place.storage.exists(to)
    with pytest.raises(ConfigError, match=r"must be called something\.parquet"):
        write_dead_letters(config.output.uri, f"{local_place.uri}/failed.csv", local_place.storage)
