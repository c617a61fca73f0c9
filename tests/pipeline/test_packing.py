"""Windows on their way between stages: what is known arrives as it was, and no more travels than that."""

import io

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from repaint_batch.config import ImagesConfig
from repaint_batch.images.restoration import Prepared, prepare
from repaint_batch.images.windows import Window
from repaint_batch.pipeline.packing import PackedWindows, keep_masks_of, plan_of, put_windows, restored_bytes, restored_of

R = 6


def prepared(seed: int, kinds: list[str], orientation: int = 1) -> Prepared:
    """Return a picture with a window a kind: "u" of whole shades, "f" of any values; the second starts from the first."""
    rng = np.random.default_rng(seed)
    shades = rng.integers(0, 256, (len(kinds), R, R, 3))
    values = rng.uniform(-1, 1, shades.shape)
    eight_bits = shades.astype(np.float32) * np.float32(2 / 255) - 1
    windows = np.stack([eight_bits[i] if kind == "u" else values[i] for i, kind in enumerate(kinds)]).astype(np.float32)
    keep = rng.random((len(kinds), R, R)) < 0.6
    keep[:, 0, 0] = True
    windows[~keep] = 0  # as `prepare` leaves holes
    plan = tuple(Window(R * i, 3, R, (R * i, 3, R * i + R, 3 + R), i, 0 if i == 1 else None) for i in range(len(kinds)))
    return Prepared(windows, keep, plan, orientation, 100, 100, "PNG", "RGB", 0.4)


@given(st.integers(0, 99), st.lists(st.sampled_from("uf"), min_size=1, max_size=4), st.sampled_from([1, 6]))
@settings(deadline=None, max_examples=40)
def test_known_pixels_arrive_as_they_were(seed: int, kinds: list[str], orientation: int) -> None:
    sent, row = prepared(seed, kinds, orientation), {}
    put_windows(row, sent)
    windows, keep = PackedWindows(row, R), keep_masks_of(row, R)
    assert np.array_equal(keep, sent.keep_mask)
    assert plan_of(row) == (sent.plan, orientation)
    assert len(windows) == row["windows"] == len(kinds)
    for number, kind in enumerate(kinds):
        assert windows[number].dtype == np.float32
        known = keep[number]
        if kind == "u":
            assert np.array_equal(windows[number][known], sent.windows[number][known])
        else:
            assert np.allclose(windows[number][known], sent.windows[number][known], atol=2**-11)
    # Bytes for shades, two for the rest, and an eighth for masks.
    size = 3 * R * R
    exact = sum(kind == "u" for kind in kinds)
    assert len(row["__windows"]) <= size * exact + 2 * size * (len(kinds) - exact)
    assert len(row["__keep"]) == -(-len(kinds) * R * R // 8)


@given(st.integers(0, 99), st.integers(1, 3))
@settings(deadline=None, max_examples=20)
def test_of_what_was_restored_the_holes_of_final_windows_come_back(seed: int, candidates: int) -> None:
    sent, row = prepared(seed, ["u", "u", "f"]), {}
    put_windows(row, sent)
    rng = np.random.default_rng(seed + 1)
    made = [rng.uniform(-1, 1, sent.windows.shape).astype(np.float32) for _ in range(candidates)]
    # The first window is a draft, which nothing needs any more.
    row["__restored"] = restored_bytes(row, [[None, *windows[1:]] for windows in made], sent.keep_mask)
    holes = int((~sent.keep_mask[1:]).sum())
    assert len(row["__restored"]) == candidates * holes * 3 * 4
    back = restored_of(row, R)
    assert len(back) == candidates
    for found, windows in zip(back, made, strict=True):
        for number in (1, 2):
            hole = ~sent.keep_mask[number]
            assert np.array_equal(found[number][hole], windows[number][hole])
            assert np.allclose(found[number][~hole], sent.windows[number][~hole], atol=2**-11)


def test_windows_that_are_cut_from_eight_bits_travel_as_bytes() -> None:
    """The shades of this module are those that pictures are read with."""
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    mask = np.zeros((40, 40), np.uint8)
    mask[15:20, 15:20] = 255
    encoded = []
    for pixels in (picture, mask):
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "PNG")
        encoded.append(data.getvalue())
    row: dict[str, object] = {}
    made = prepare(*encoded, ImagesConfig(), 16)
    put_windows(row, made)
    assert len(row["__windows"]) == made.windows.size  # type: ignore[arg-type]


