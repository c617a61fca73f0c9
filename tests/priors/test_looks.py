"""What crops are made to look like: in range, the same for the same draw, and what each look is called."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from repaint_batch.priors.looks import aged, blurred, compressed, toned


def scene(side: int, count: int = 1, seed: int = 0) -> torch.Tensor:
    """Return pictures with soft colours, an edge and some texture."""
    rng = np.random.default_rng(seed)
    at = np.linspace(0, 3, side)
    waves = [np.sin(at[:, None] * rng.uniform(1, 4) + at * rng.uniform(1, 4) + rng.uniform(0, 6)) for _ in range(3 * count)]
    pictures = 0.5 * np.array(waves).reshape(count, 3, side, side) + rng.normal(0, 0.03, (count, 3, side, side))
    pictures[..., side // 3 :, side // 2 :] += 0.4
    return torch.from_numpy(pictures.clip(-1, 1)).float()


def per_picture(value: float, count: int = 1) -> torch.Tensor:
    return torch.full((count, 1, 1, 1), value)


@given(st.integers(0, 2**32), st.integers(9, 40))
@settings(max_examples=30, deadline=None)
def test_looks_stay_in_range_and_are_a_function_of_their_draw(seed: int, side: int) -> None:
    pictures = scene(side, 6, seed)
    before = pictures.clone()
    looks = aged(pictures, torch.Generator().manual_seed(seed))
    assert looks.shape == pictures.shape
    assert looks.isfinite().all()
    assert looks.abs().max() <= 1
    assert torch.equal(looks, aged(pictures, torch.Generator().manual_seed(seed)))
    assert torch.equal(pictures, before)


def test_some_crops_keep_their_own_look_and_most_do_not() -> None:
    pictures = scene(16, 400)
    kept = (aged(pictures, torch.Generator().manual_seed(0)) == pictures).all(dim=(1, 2, 3)).float().mean()
    assert 0.08 < kept < 0.35


def test_toned_pictures_are_grey_at_no_sepia_and_browner_with_more() -> None:
    pictures = scene(16, 3)
    grey = toned(pictures, per_picture(0, 3))
    torch.testing.assert_close(grey, grey[:, :1].expand_as(grey))
    assert grey.min() >= -1
    assert grey.max() <= 1
    luma = torch.einsum("bchw,c->bhw", pictures, torch.tensor([0.299, 0.587, 0.114]))
    torch.testing.assert_close(grey[:, 0], luma)
    warmth = [toned(pictures, per_picture(sepia, 3))[:, 0] - toned(pictures, per_picture(sepia, 3))[:, 2] for sepia in (0.3, 1.0)]
    assert (warmth[0] >= 0).all()
    assert (warmth[1] >= warmth[0]).all()


def test_blur_keeps_the_mean_of_a_flat_picture_and_takes_detail_away() -> None:
    flat = torch.full((1, 3, 12, 12), 0.3)
    torch.testing.assert_close(blurred(flat, per_picture(0.8)), flat)
    pictures = scene(32)
    detail = [float(blurred(pictures, per_picture(std)).diff(dim=3).abs().mean()) for std in (0.01, 0.4, 1.0)]
    assert detail[0] > detail[1] > detail[2]
    torch.testing.assert_close(blurred(pictures, per_picture(0.01)), pictures)


def test_jpeg_at_quality_95_changes_little_and_at_40_more() -> None:
    pictures = scene(40)
    changes = [
        float((compressed(pictures, per_picture(quality), torch.tensor([3, 5])) - pictures).square().mean().sqrt())
        for quality in (95, 70, 40)
    ]
    assert changes[0] < 0.03
    assert changes[0] < changes[1] < changes[2] < 0.15


@pytest.mark.parametrize("quality", [40, 60, 80, 95])
def test_jpeg_is_what_pillow_makes_of_it(quality: int) -> None:
    pixels = np.asarray(((scene(64)[0] + 1) * 127.5).round().byte().permute(1, 2, 0))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0)
    theirs = np.asarray(Image.open(buffer)).astype(float)
    pictures = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    ours = ((compressed(pictures, per_picture(quality), torch.tensor([0, 0]))[0] + 1) * 127.5).permute(1, 2, 0).numpy()
    # libjpeg rounds steps and colours to whole levels between, so that some coefficients fall to another multiple. Errors
    # that have nothing to do with each other would differ by 1.4 times the loss.
    loss = np.sqrt(np.mean((theirs - pixels) ** 2))
    assert np.sqrt(np.mean((ours - theirs) ** 2)) < 0.6 * loss
    assert np.sqrt(np.mean((ours - pixels) ** 2)) == pytest.approx(loss, rel=0.06)


@given(st.integers(0, 7), st.integers(0, 7), st.integers(5, 30))
@settings(max_examples=40, deadline=None)
def test_the_grid_of_blocks_begins_where_it_is_said_to(down: int, right: int, side: int) -> None:
    # Of flat blocks nothing is lost but the rounding of their means: a picture that is flat in every block of the grid stays.
    rng = np.random.default_rng(side)
    rows, columns = (np.arange(side) + 8 - down) // 8, (np.arange(side) + 8 - right) // 8
    levels = torch.from_numpy(rng.integers(-8, 8, (rows.max() + 1, columns.max() + 1)) / 16).float()
    pictures = levels[rows][:, columns].expand(1, 3, side, side)
    changed = compressed(pictures, per_picture(90), torch.tensor([down, right]))
    # The luma step of the mean is 3/8 of a level at quality 90, chroma's 3/8 too; a grid elsewhere would ring by tens.
    assert (changed - pictures).abs().max() < 2.5 / 127.5
