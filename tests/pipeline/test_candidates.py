"""Best of several seeds: the one with the lowest seam score, whatever else is in the shard, and paid for in full."""

from typing import Any

import pytest

from repaint_batch.pipeline.replay import replay
from repaint_batch.sampler.noise import candidate_seed, first_seeds
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import job, rows, write_manifest
from ..restored import restore_here


def restored(place: Place, prior: str, folder: str, **sampler: Any) -> dict[str, dict[str, Any]]:
    """Return the rows of a job over four pictures, by their ids."""
    config = job(place, write_manifest(place, rows(4)), prior, folder, sampler=sampler)
    restore_here(config)
    return {row["sample_id"]: row for row in ResultsTable(config.output.uri, place.storage).rows()}


def test_the_candidate_with_the_lowest_seam_is_kept(local_place: Place, tiny_prior: str) -> None:
    alone = [restored(local_place, tiny_prior, f"seed-{seed}", seed=seed) for seed in (5, 6, 7)]
    best = restored(local_place, tiny_prior, "best", seed=5, candidates=3)
    for sample_id, row in best.items():
        expected = min((one[sample_id] for one in alone), key=lambda found: found["seam_score"])
        names = ("seed", "output_sha256", "risk", "risk_reason")
        assert [row[name] for name in names] == [expected[name] for name in names]
        assert 0 < row["risk"] < 1
    assert len({row["seed"] for row in best.values()}) > 1, "otherwise this corpus cannot tell"
    assert replay(f"{local_place.uri}/best", "picture-0001", local_place.storage).is_equal


def test_seeds_follow_each_other_and_stay_within_what_the_table_holds() -> None:
    assert [candidate_seed(2**63 - 1, number) for number in range(3)] == [2**63 - 1, 0, 1]
    assert candidate_seed(-4, 0) == -4, "the first is the row's own, whatever it is"


@pytest.mark.parametrize("seed", [0, 5, 2**63 - 1, 2**63 - 2])
def test_the_first_seed_is_found_again(seed: int) -> None:
    for number in range(3):
        assert seed in first_seeds(candidate_seed(seed, number), 3)
