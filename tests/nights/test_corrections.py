"""Corrected masks at night: used for as long as their picture is the one that they were drawn for."""

import hashlib
import uuid
from typing import Any

import numpy as np
import pytest

from repaint_batch.nights.config import NightConfig
from repaint_batch.nights.corrections import EARLIER, OVERRULED, Corrections
from repaint_batch.nights.night import NightSummary, run_night
from repaint_batch.outputs.corrected import corrected, corrected_mask_uri
from repaint_batch.outputs.reviews import Decision, Reviews, redos
from repaint_batch.outputs.verify import verify
from repaint_batch.pipeline.replay import replay
from repaint_batch.pipeline.run import run_job
from repaint_batch.review.desk import Batch, Desk, Wanted
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import encoded
from ..damage.torn import SIDE_PX, torn
from ..pipeline.conftest import Recorder
from ..restored import restore_here, run_here
from ..review.conftest import here


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def drawn(column: int) -> bytes:
    """Return a mask that somebody has drawn: a box of eight by three pixels."""
    mask = np.zeros((SIDE_PX, SIDE_PX), bool)
    mask[30:38, column : column + 3] = True
    return encoded(mask)


def asked(output: str, place: Place, sample_id: str, image: bytes, column: int) -> str:
    """Ask for a redo of a row by a corrected mask, as a review does; return where the mask is."""
    (row,) = ResultsTable(output, place.storage).rows(("sample_id", "output_sha256", "attempt"), [("sample_id", "=", sample_id)])
    data = drawn(column)
    uri = corrected_mask_uri(output, sha256(image), sha256(data))
    place.storage.create(uri, data)
    redo = Decision(**row, verdict="redo", preset="draft", seed=7, image_sha256=sha256(image), mask_sha256=sha256(data))
    Reviews(output, place.storage).record(str(uuid.uuid4()), 1, [redo])
    return uri


def finding(place: Place, prior: str, seed: int) -> NightConfig:
    """Return nights that look for torn corners themselves."""
    values: dict[str, Any] = {
        "corpus": {"images": f"{place.uri}/pictures"},
        "output": {"uri": f"{place.uri}/out"},
        "prior": {"source": prior},
        "sampler": {"preset": "draft", "num_steps": 3, "seed": seed},
        "images": {"masks": {"find": ["edges"]}, "mask_grow_px": 2},
        "compute": {"batch_windows": 8, "actors": 1},
        "storage": place.config.model_dump(),
    }
    return NightConfig.model_validate(values)


def masks(output: str, place: Place) -> dict[str, str | None]:
    return {row["sample_id"]: row["mask_uri"] for row in ResultsTable(output, place.storage).rows(("sample_id", "mask_uri"))}


def test_a_corrected_mask_stays_while_its_picture_does(local_place: Place, tiny_prior: str) -> None:
    place, names = local_place, ("a.png", "b.png", "c.png")
    pictures = {name: torn(number, is_torn=name != "c.png") for number, name in enumerate(names)}

    def put(name: str, data: bytes) -> None:
        place.storage.write(f"{place.uri}/pictures/{name}", data)

    def night(seed: int = 0) -> NightSummary:
        return run_night(finding(place, tiny_prior, seed), Recorder(), run=run_here)

    for name, data in pictures.items():
        put(name, data)
    first, out = night(), f"{place.uri}/out"
    assert (first.ran, first.corrected, first.earlier_masks) == ({"new": 3}, 0, 0)
    found = masks(out, place)
    assert found["c.png"] is None, "it is not torn"
    own = {name: asked(out, place, name, data, 10 + number) for number, (name, data) in enumerate(pictures.items())}
    ((redo, before),) = redos(out, place.storage).jobs
    restore_here(redo, retry_of=before.job_id)
    assert masks(out, place) == own
    assert night().skipped == {"unchanged": 3}

    put("a.png", pictures["a.png"])  # the same bytes, at another time
    put("b.png", torn(77))
    again = night()
    assert (again.ran, again.skipped) == ({"changed": 1}, {"touched": 1, "unchanged": 1})
    assert (again.corrected, again.earlier_masks, again.named) == (0, 1, {EARLIER: ["b.png"]})
    replaced = masks(out, place)["b.png"]
    assert replaced == found["b.png"], "found in the new picture, which is torn alike"

    later = asked(out, place, "c.png", pictures["c.png"], 40)  # and not redone before the night
    anew = night(seed=1)
    assert (anew.ran, anew.corrected, anew.earlier_masks) == ({"new settings": 3}, 2, 1)
    assert anew.rows == {"ok": 3, "skipped": 0, "failed": 0}
    assert masks(out, place) == {"a.png": own["a.png"], "b.png": replaced, "c.png": later}
    hole = {row["sample_id"]: row["hole_fraction"] for row in ResultsTable(out, place.storage).rows()}
    assert hole["a.png"] == hole["c.png"] == 24 / SIDE_PX**2, "as drawn, images.mask_grow_px or not"
    assert verify(out, place.storage).problems == []
    assert all(replay(out, name, place.storage).is_equal for name in ("a.png", "b.png"))
    assert night(seed=1).skipped == {"unchanged": 3}


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_on_a_cluster_and_s3_too(s3_place: Place, tiny_prior: str, recorder: Recorder) -> None:
    storage, out = s3_place.storage, f"{s3_place.uri}/out"
    pictures = {name: torn(number, is_torn=number < 2) for number, name in enumerate(("a.png", "b.png", "c.png"))}
    for name, data in pictures.items():
        storage.write(f"{s3_place.uri}/pictures/{name}", data)
    first = run_night(finding(s3_place, tiny_prior, 0), recorder)
    assert (first.ran, first.rows) == ({"new": 3}, {"ok": 2, "skipped": 1, "failed": 0})
    found = masks(out, s3_place)
    assert verify(out, storage).problems == []

    desk, decided = Desk(out, storage, here), []
    for number, name in enumerate(("a.png", "c.png")):
        (row,) = ResultsTable(out, storage).rows(("output_sha256",), [("sample_id", "=", name)])
        digest = desk.correct(name, row["output_sha256"], drawn(20 + number))
        decided.append(Wanted(sample_id=name, output_sha256=row["output_sha256"], verdict="redo", mask_sha256=digest))
    assert desk.decide(Batch(session=str(uuid.uuid4()), number=1, decisions=tuple(decided))) == []
    ((redo, before),) = redos(out, storage).jobs
    run_job(redo, recorder, retry_of=before.job_id)
    redone = masks(out, s3_place)
    assert redone["b.png"] == found["b.png"]
    assert all(corrected(out, redone[name]) for name in ("a.png", "c.png"))

    anew = run_night(finding(s3_place, tiny_prior, 1), recorder)
    assert (anew.ran, anew.rows, anew.corrected) == ({"new settings": 3}, {"ok": 3, "skipped": 0, "failed": 0}, 2)
    assert masks(out, s3_place) == redone
    assert verify(out, storage).problems == []
    assert all(replay(out, name, storage).is_equal for name in pictures)


IMAGE, OTHER = b"a picture", b"another"
LISTED = {"sample_id": "a", "mask": "masks/a.png", "mask_identity": "5-def"}
KNOWN = {"sample_id": "a", "mask_identity": "5-def", "output_sha256": "0" * 64, "attempt": "one"}


@pytest.mark.parametrize(
    ("listed", "known", "image", "expected"),
    [
        ({}, {"mask_uri": "2"}, IMAGE, "2"),
        ({}, {"mask_uri": "1"}, IMAGE, "2"),  # the redo by the second mask waits
        ({}, {"mask_uri": "1", "attempt": "another"}, IMAGE, "1"),  # it does not any more
        ({}, {"mask_uri": "masks/a.png", "attempt": "another"}, IMAGE, None),  # the corpus's own mask had its turn since
        ({}, {"mask_uri": "2"}, OTHER, EARLIER),
        ({"mask_identity": "6-xyz"}, {"mask_uri": "2"}, IMAGE, OVERRULED),
        ({}, None, IMAGE, None),
        ({"mask": None, "mask_identity": None}, None, IMAGE, "2"),
        ({"sample_id": "b"}, {}, IMAGE, None),
    ],
)
def test_which_mask_a_picture_is_run_with(
    local_place: Place, listed: dict[str, Any], known: dict[str, Any] | None, image: bytes, expected: str | None
) -> None:
    digests = {"1": "1" * 64, "2": "2" * 64}
    uris = {name: corrected_mask_uri(local_place.uri, sha256(IMAGE), digest) for name, digest in digests.items()}
    made = [
        Decision("a", f"{number:064d}", "one", "redo", "fast", 1, sha256(IMAGE), digests[name])
        for number, name in ((5, "1"), (0, "2"))
    ]
    Reviews(local_place.uri, local_place.storage).record(str(uuid.uuid4()), 1, [made[1], *made])
    row = None if known is None else {**KNOWN, "mask_uri": None, **known}
    if row is not None:
        row["mask_uri"] = uris.get(str(row["mask_uri"]), row["mask_uri"])
    corrections = Corrections(local_place.uri, local_place.storage)
    found, why_not = corrections.mask_for({**LISTED, **listed}, row, image)
    assert (found or why_not) == uris.get(str(expected), expected)
