"""An outage in any phase of a job is waited for with patience; then the job ends, and goes on later. No row fails."""

from itertools import product

import pytest

from repaint_batch.config import JobConfig
from repaint_batch.errors import StorageError
from repaint_batch.outputs.naming import read_output
from repaint_batch.outputs.verify import verify
from repaint_batch.storage import Storage
from repaint_batch.table.results import ResultsTable

from ..corpus import encoded, job, picture, rows, write_manifest
from ..restored import restore_here
from .conftest import Faulty
from .proxy import Exchange, Refusal
from .test_outages import AWAY, DENIED, EXPIRED, FULL, SLOW_DOWN, Trouble

ROWS = 4
PHASES = {
    "reading": ("GET", "/pictures/"),
    "uploading": ("PUT", "/images/"),
    "committing": ("PUT", "/results/part-"),
    "publishing": ("PUT", "/_delta_log/00000000000000000001.json"),
    "listing": ("GET", "list-type=2"),
}
TROUBLES = {"away": AWAY, "503": SLOW_DOWN, "expired": EXPIRED, "revoked": DENIED, "full": FULL}
_WRITES = ("uploading", "committing", "publishing")
_OFTEN = [("reading", "expired"), ("uploading", "full"), ("publishing", "away")]
_ALL = [pair for pair in product(PHASES, TROUBLES) if pair[1] != "full" or pair[0] in _WRITES]


@pytest.mark.parametrize(
    ("phase", "trouble"), [*_OFTEN, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in _ALL if pair not in _OFTEN)]
)
def test_an_outage_fails_no_row(faulty: Faulty, tiny_prior: str, phase: str, trouble: str) -> None:
    config = stocked(faulty, tiny_prior)
    endless = from_phase_on(faulty, phase, trouble)
    with pytest.raises(StorageError, match=said_of(TROUBLES[trouble])):
        restore_here(with_patience(config, 0.5))
    assert endless.harmed, "the job never came so far"
    passing = from_phase_on(faulty, phase, trouble, left=3)
    restore_here(with_patience(config, 6.0))
    assert len(passing.harmed) == 3
    found = list(ResultsTable(config.output.uri, faulty.behind.storage).rows())
    assert [(row["sample_id"], row["status"]) for row in found] == [(f"picture-{number:04d}", "ok") for number in range(ROWS)]
    assert verify(config.output.uri, faulty.behind.storage).exit_code == 0
    assert [read_output(row, config.output.uri, faulty.behind.storage) for row in found] == calm(faulty, config)


def from_phase_on(faulty: Faulty, phase: str, trouble: str, left: float = float("inf")) -> Trouble:
    """Let trouble befall everything, or everything that is written where there is no room, once a job is in a phase."""
    method, path = PHASES[phase]
    begun: list[Exchange] = []

    def harms(exchange: Exchange) -> bool:
        if exchange.method == method and path in exchange.path:
            begun.append(exchange)
        return bool(begun) and (trouble != "full" or exchange.method == "PUT")

    return Trouble(TROUBLES[trouble], left, harms).befall(faulty)


def stocked(faulty: Faulty, prior: str) -> JobConfig:
    """Return a job of two shards whose pictures are objects, and become objects."""
    corpus = rows(ROWS)
    for number in range(ROWS):
        corpus[number]["image"] = {"bytes": None, "path": f"pictures/{number}.bmp"}
        faulty.behind.storage.write(f"{faulty.behind.uri}/pictures/{number}.bmp", encoded(picture(number), "BMP"))
    manifest = write_manifest(faulty.behind, corpus)
    return job(
        faulty.place, manifest, prior, output={"images": "files"}, sampler={"preset": "preview"}, compute={"shard_rows": 2}
    )


def said_of(refusal: Refusal | None) -> str:
    return "(?s)what is done stays done" if refusal is None else f"(?s){refusal.code}.*what is done stays done"


def with_patience(config: JobConfig, patience_s: float) -> JobConfig:
    return config.model_copy(update={"storage": config.storage.model_copy(update={"patience_s": patience_s})})


def calm(faulty: Faulty, config: JobConfig) -> list[bytes]:
    """Return the pictures that the same job makes where nothing goes wrong."""
    output = config.output.model_copy(update={"uri": f"{faulty.behind.uri}/calm"})
    restore_here(config.model_copy(update={"output": output, "storage": faulty.behind.config}))
    storage: Storage = faulty.behind.storage
    return [read_output(row, output.uri, storage) for row in ResultsTable(output.uri, storage).rows()]
