"""Nothing lost, nothing twice, nothing wrong, whatever dies."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..seaweed import S3Service
from .campaign import Nodes, Profile, long_profile, run_campaign


@pytest.fixture(scope="module")
def nodes(s3_service: S3Service) -> Iterator[Nodes]:
    """A cluster of two nodes."""
    found = Nodes()
    yield found
    found.cluster.shutdown()


def test_the_short_profile(nodes: Nodes, s3_service: S3Service, tmp_path: Path) -> None:
    profile = Profile(workers=3, steps=(("log before", 1), ("data after", 3)), drivers=(2,), node_at=3)
    figures = run_campaign(1, profile, nodes, s3_service, tmp_path)
    assert figures.is_flawless
    assert figures.rows == 40
    assert figures.worker_kills + figures.actor_kills >= 2
    assert figures.writer_kills >= 1
    assert figures.driver_kills >= 1
    assert figures.node_kills >= 1
    assert sum(figures.s3_faults.values()) >= 10


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_at_once(nodes: Nodes, s3_service: S3Service, tmp_path: Path) -> None:
    figures = run_campaign(1, Profile(), nodes, s3_service, tmp_path)
    assert figures.is_flawless
    assert figures.worker_kills + figures.actor_kills >= 10
    assert figures.writer_kills >= 4
    assert figures.driver_kills >= 2
    assert sum(figures.s3_faults.values()) >= 50


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_long_profile(nodes: Nodes, s3_service: S3Service, tmp_path: Path) -> None:
    found = [run_campaign(seed, long_profile(seed), nodes, s3_service, tmp_path) for seed in range(100, 120)]
    assert all(figures.is_flawless for figures in found)
    kills = sum(each.worker_kills + each.actor_kills + each.writer_kills + each.node_kills for each in found)
    faults = sum(sum(each.s3_faults.values()) for each in found)
    print(f"20 seeds: {kills} kills, {sum(each.driver_kills for each in found)} driver restarts, {faults} S3 faults")
    assert kills >= 100
    assert sum(each.driver_kills for each in found) >= 20
    assert faults >= 1000
