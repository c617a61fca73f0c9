"""Pieces at full size, and masks that are corrected: sent, checked, kept, and what comes of them."""

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from repaint_batch.config import ImagesConfig, StorageConfig
from repaint_batch.manifest import read_rows
from repaint_batch.outputs.dead_letters import retry_config
from repaint_batch.outputs.export import export
from repaint_batch.outputs.reviews import Redos, redos
from repaint_batch.outputs.verify import verify
from repaint_batch.pipeline.replay import replay
from repaint_batch.review.desk import fixed
from repaint_batch.review.server import ReviewServer
from repaint_batch.review.whole import decode_whole
from repaint_batch.storage import Storage

from ..conftest import Place
from ..corpus import encoded, hole, job, picture, rows, save_tiny_prior, write_manifest
from ..restored import restore_here
from .conftest import here
from .test_server import ask, batch, row, verdicts

Serve = Callable[[str], ReviewServer]

MASKS = {"hole": "black", "mask_grow_px": 1, "mask_drawn_on": "stored"}


def drawn(box: tuple[int, int, int, int] = (2, 3, 7, 5), size: tuple[int, int] = (16, 16), mode: str = "1") -> bytes:
    """Return a mask as the page sends it: white in a box."""
    mask, held = Image.new(mode, size, 0), io.BytesIO()
    if box[2] > box[0]:
        mask.paste(255, box)
    mask.save(held, "PNG")
    return held.getvalue()


def place_of(server: ReviewServer, output: str, what: str, sample_id: str = "picture-0000") -> str:
    return f"/{server.token}/{what}/{row(output, sample_id)['output_sha256']}/{sample_id}"


def pixels(data: bytes) -> np.ndarray:
    """Return (H, W, 3) int pixels as displayed."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")).astype(int)


def turned(stored: np.ndarray) -> bytes:
    """Return a PNG that is displayed a quarter turned."""
    exif, held = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.fromarray(stored).save(held, "PNG", exif=exif)
    return held.getvalue()


def test_of_several_pages_the_first_with_a_hole_is_shown_and_its_mask_is_not_corrected_here() -> None:
    pages, held, masks = [Image.fromarray(picture(number)) for number in range(2)], io.BytesIO(), io.BytesIO()
    pages[0].save(held, "TIFF", save_all=True, append_images=pages[1:])
    Image.fromarray(hole(0) * 0).save(masks, "TIFF", save_all=True, append_images=[Image.fromarray(hole(1))])
    images = ImagesConfig(frames="all")
    whole = decode_whole(here, held.getvalue(), masks.getvalue(), None, images, "0" * 64)
    assert whole is not None
    assert (whole.pixels == picture(1)).all()
    assert "has 2 pages; correct the mask in its own file" in (fixed(whole) or "")


def test_pieces_are_the_pixels_of_the_picture_before_and_after(output: str, serve: Serve) -> None:
    server = serve(output)
    whole = {"before": picture(0).astype(int), "after": pixels(row(output)["output"])}
    for side, full in whole.items():
        status, data, headers = ask(server, place_of(server, output, f"{side}-piece/3,5,9,4,1"))
        assert (status, headers["Content-Type"]) == (200, "image/png")
        assert (pixels(data) == full[5:9, 3:12]).all()
        halved = pixels(ask(server, place_of(server, output, f"{side}-piece/0,0,16,16,2"))[1])
        assert np.abs(halved - full.reshape(8, 2, 8, 2, 3).mean(axis=(1, 3))).max() <= 1
    facts = json.loads(ask(server, place_of(server, output, "facts"))[1])
    assert facts == {"width": 16, "height": 16, "stops": [[0, 0, 8, 8]], "fixed": None}
    bits = np.frombuffer(ask_bits(server, output, "first"), np.uint8).reshape(16, 2)
    assert (np.unpackbits(bits, axis=1) == (hole(0) > 0)).all()


def ask_bits(server: ReviewServer, output: str, which: str, sample_id: str = "picture-0000") -> bytes:
    return gzip.decompress(ask(server, place_of(server, output, f"mask/{which}", sample_id))[1])


@pytest.mark.parametrize(
    ("where", "status"),
    [
        ("before-piece/0,0,17,16,1", 422),
        ("after-piece/15,15,2,1,1", 422),
        ("before-piece/0,0,0,4,1", 422),
        ("before-piece/0,0,4,4,0", 422),
        ("before-piece/-1,0,4,4,1", 404),
        ("before-piece/0,0,4,4", 404),
        ("hole-piece/0,0,4,4,1", 404),
        ("mask/../first", 404),
        (f"mask/{'0' * 64}", 422),
    ],
)
def test_pieces_that_are_not_handed_out(output: str, serve: Serve, where: str, status: int) -> None:
    server = serve(output)
    assert ask(server, place_of(server, output, where))[0] == status
    assert ask(server, f"/{server.token}/{where}/{'0' * 64}/picture-0000")[0] == 404, "another picture has taken its place"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": ""}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/json"}, 415),
    ],
)
def test_other_pages_cannot_send_masks_even_with_the_token(
    output: str, serve: Serve, headers: dict[str, str], status: int
) -> None:
    server = serve(output)
    where = place_of(server, output, "masks")
    assert ask(server, where, drawn(), **{"Content_Type": "image/png", **headers})[0] == status
    assert not Path(output, "masks").exists()


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (drawn(size=(16, 15)), "no PNG of one bit and 16x16 pixels"),
        (drawn(size=(4000, 4000)), "pixels, more than the 256"),
        (drawn(mode="L"), "no PNG of one bit and 16x16 pixels"),
        (drawn((0, 0, 0, 0)), "marks nothing"),
        (drawn()[:60], "truncated PNG"),
        (encoded(hole(0), "BMP"), "no PNG"),
    ],
    ids=["size", "large", "grey", "empty", "cut off", "format"],
)
def test_masks_that_do_not_fit_are_refused(output: str, serve: Serve, mask: bytes, words: str) -> None:
    server = serve(output)
    status, said, _ = ask(server, place_of(server, output, "masks"), mask, Content_Type="image/png")
    assert (status, words in said.decode()) == (422, True), said
    assert not Path(output, "masks").exists()


def test_a_mask_for_a_picture_that_is_gone_is_not_kept(output: str, serve: Serve) -> None:
    server = serve(output)
    where = f"/{server.token}/masks/{'0' * 64}/picture-0000"
    assert ask(server, where, drawn(), Content_Type="image/png")[0] == 409
    assert not Path(output, "masks").exists()


def test_masks_have_a_limit_of_their_own_behind_the_token_alone(output: str, serve: Serve) -> None:
    server = serve(output)
    sent = {"Content_Type": "image/png", "Content_Length": str(2**25 + 1)}
    assert ask(server, place_of(server, output, "masks"), b"", **sent)[0] == 413
    assert ask(server, "/wrong/masks/0/a", b"", **{**sent, "Content_Length": str(2**20 + 1)})[0] == 413
    large = bytes(2**20 + 1)
    assert ask(server, place_of(server, output, "masks"), large, Content_Type="image/png")[0] == 422, "read, and no mask"


def test_a_decision_may_only_name_a_mask_that_was_kept_for_its_picture(output: str, serve: Serve) -> None:
    server = serve(output)
    kept = json.loads(ask(server, place_of(server, output, "masks"), drawn(), Content_Type="image/png")[1])
    for sample_id, digest in (("picture-0000", "0" * 64), ("picture-0001", kept["mask_sha256"])):
        wanted = batch(output, sample_id, verdict="redo", mask_sha256=digest)
        status, said, _ = ask(server, f"/{server.token}/decisions", wanted)
        assert (status, "was not kept; draw it once more" in said.decode()) == (422, True)
    assert verdicts(output) == {}


def test_a_row_is_redone_with_its_corrected_mask_whatever_its_job_says_of_masks(
    tmp_path: Path, serve: Serve
) -> None:
    place, storage = Place(str(tmp_path), StorageConfig()), Storage()
    corpus = rows(3)
    for number, values in enumerate(corpus):  # black marks the hole, and grows; the last picture has none
        values["mask"]["bytes"] = encoded(255 - hole(number) * (number < 2))
    corpus[0]["image"]["bytes"] = turned(picture(0))
    prior = save_tiny_prior(tmp_path / "prior")
    config = job(place, write_manifest(place, corpus), prior, images=MASKS)
    restore_here(config)
    output, server = config.output.uri, serve(config.output.uri)
    box = (2, 3, 7, 5)
    before = {"picture-0000": pixels(corpus[0]["image"]["bytes"]), "picture-0002": picture(2)}
    for number, sample_id in enumerate(("picture-0000", "picture-0002"), 1):
        answer = ask(server, place_of(server, output, "masks", sample_id), drawn(box), Content_Type="image/png")
        digest = json.loads(answer[1])["mask_sha256"]
        wanted = batch(output, sample_id, number, verdict="redo", mask_sha256=digest, seed="0", preset="draft")
        assert ask(server, f"/{server.token}/decisions", wanted)[0] == 200, "the mask is new, the seed need not be"
    assert ask_bits(server, output, digest) != ask_bits(server, output, "first")
    asked = json.loads(gzip.decompress(ask(server, f"/{server.token}/rows")[1]))["asked"]
    assert {"preset": "draft", "seed": "0", "mask_sha256": digest} in asked

    ((redo, earlier),) = redos(output, storage).jobs
    plan = restore_here(redo, retry_of=earlier.job_id)
    masks = {}
    for sample_id in ("picture-0000", "picture-0002"):
        done = row(output, sample_id)
        assert done["status"] == "ok"
        assert done["mask_uri"].startswith(f"{output}/masks/corrected/")
        assert done["mask_uri"].endswith(f"/{digest}.png")
        masks[sample_id] = done["mask_uri"]
        assert done["hole_fraction"] == 10 / 256, "no pixel more than was drawn"
        changed = (pixels(done["output"]) != before[sample_id]).any(axis=2)
        changed[box[1] : box[3], box[0] : box[2]] = False
        assert not changed.any()
    assert redos(output, storage).jobs == []
    assert replay(output, "picture-0000", storage).is_equal
    assert verify(output, storage).problems == []
    export(output, str(tmp_path / "plain"), storage, masks=True)
    mask = pixels((tmp_path / "plain" / "picture-0000.png.mask.png").read_bytes())[..., 0]
    assert mask[box[1] : box[3], box[0] : box[2]].all()
    assert mask.sum() == 10 * 255
    # Nor is it read otherwise by a retry under other settings, or lost to a redo of the seed alone.
    again = retry_config(output, plan, read_rows(plan.files, 0, 1, storage), "x", storage, config)
    restore_here(again, retry_of=plan.job_id)
    assert row(output)["hole_fraction"] == 10 / 256
    assert ask(server, f"/{server.token}/decisions", batch(output, number=9, verdict="redo", seed="9"))[0] == 200
    ((again, earlier),) = redos(output, storage).jobs
    restore_here(again, retry_of=earlier.job_id)
    assert (row(output)["mask_uri"], row(output)["seed"]) == (masks["picture-0000"], 9)


def test_a_picture_that_has_changed_since_it_was_reviewed_is_not_redone(tmp_path: Path, serve: Serve) -> None:
    place, storage, corpus = Place(str(tmp_path), StorageConfig()), Storage(), rows(5)
    for number, values in enumerate(corpus):
        values["image"] = {"bytes": None, "path": f"{number}.png"}
        storage.write(f"{tmp_path}/{number}.png", encoded(picture(number)))
    config = job(place, write_manifest(place, corpus), save_tiny_prior(tmp_path / "prior"))
    restore_here(config)
    output, server = config.output.uri, serve(config.output.uri)
    for number in range(5):
        sample_id, wanted = f"picture-000{number}", {"verdict": "redo", "seed": "9"}
        ask(server, place_of(server, output, "before", sample_id))  # which the reviewer has looked at
        if number == 2:
            storage.write(f"{tmp_path}/2.png", encoded(picture(20)))
        if number not in (2, 4):
            answer = ask(server, place_of(server, output, "masks", sample_id), drawn(), Content_Type="image/png")
            wanted["mask_sha256"] = json.loads(answer[1])["mask_sha256"]
        assert ask(server, f"/{server.token}/decisions", batch(output, sample_id, number + 1, **wanted))[0] == 200
    storage.write(f"{tmp_path}/0.png", encoded(picture(10)))
    storage.delete(f"{tmp_path}/4.png")

    before = {number: row(output, f"picture-000{number}") for number in range(5)}
    wanted = redos(output, storage)
    changed = "the picture has changed since it was reviewed; review it again"
    assert wanted.refused[:2] == [("picture-0000", changed), ("picture-0002", changed)]
    assert [sample_id for sample_id, why in wanted.refused[2:] if "cannot be read" in why] == ["picture-0004"]
    ((redo, earlier),) = wanted.jobs
    storage.write(f"{tmp_path}/3.png", encoded(picture(30)))  # once the job is on its way
    restore_here(redo, retry_of=earlier.job_id)
    assert (row(output, "picture-0001")["seed"], row(output, "picture-0001")["status"]) == (9, "ok")
    late = row(output, "picture-0003")
    assert (late["status"], late["error_class"]) == ("failed", "MaskInvalid")
    assert changed in late["reason"]
    for number in (0, 2, 4):
        assert row(output, f"picture-000{number}") == before[number], "nothing of it is lost"
    assert redos(output, storage) == Redos([], wanted.refused), "and still asked for"
    # Reviewed again, it is redone.
    again = serve(output)
    answer = ask(again, place_of(again, output, "masks"), drawn(), Content_Type="image/png")
    decided = batch(output, number=9, verdict="redo", mask_sha256=json.loads(answer[1])["mask_sha256"])
    assert ask(again, f"/{again.token}/decisions", decided)[0] == 200
    ((redo, _),) = redos(output, storage).jobs
    assert redo.input.manifest != config.input.manifest
