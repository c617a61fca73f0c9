"""Batches where memory is short: a number is kept or refused, ``auto`` goes on with half."""

import logging
from dataclasses import replace

import pytest

from repaint_batch.config import JobConfig
from repaint_batch.errors import BatchTooLarge
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import job, rows, write_manifest
from ..restored import restore_here
from ..tiny_networks import Narrow

ROWS = 6


def holds_three(prior: LoadedPrior) -> LoadedPrior:
    return replace(prior, network=Narrow(prior.network, 3))


def outputs(config: JobConfig, place: Place) -> dict[str, bytes]:
    found = ResultsTable(config.output.uri, place.storage).rows(("sample_id", "status", "output_sha256"))
    return {row["sample_id"]: row["output_sha256"] for row in found if row["status"] == "ok"}


def test_auto_goes_on_with_half_when_memory_runs_out(
    local_place: Place, tiny_prior: str, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = write_manifest(local_place, rows(ROWS))
    auto = job(local_place, manifest, tiny_prior, "auto", compute={"batch_windows": "auto"})
    with caplog.at_level(logging.WARNING):
        restore_here(auto, device=holds_three)
    told = [record.getMessage() for record in caplog.records if "memory ran out" in record.getMessage()]
    halves = [(16, 8), (8, 4), (4, 2)]
    assert told == [f"memory ran out with {of} windows in a call; going on with {left}" for of, left in halves], (
        "and later shards start with what fits"
    )
    fixed = job(local_place, manifest, tiny_prior, "fixed", compute={"batch_windows": 2})
    restore_here(fixed)
    assert len(outputs(auto, local_place)) == ROWS
    assert outputs(auto, local_place) == outputs(fixed, local_place)


def test_a_number_is_kept_or_refused(local_place: Place, tiny_prior: str) -> None:
    config = job(local_place, write_manifest(local_place, rows(ROWS)), tiny_prior, compute={"batch_windows": 4})
    with pytest.raises(BatchTooLarge, match=r"4 windows .* 2 do: set compute.batch_windows to 2"):
        restore_here(config, device=holds_three)
    assert outputs(config, local_place) == {}
