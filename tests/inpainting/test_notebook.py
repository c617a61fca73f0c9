"""One picture, one mask, one line."""

import io
import pydoc
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import DDPMScheduler
from PIL import Image

import repaint_batch
from repaint_batch import RePaintPipeline, inpaint, replay
from repaint_batch.config import StorageConfig
from repaint_batch.errors import ConfigError, ImageInvalid, MaskInvalid
from repaint_batch.sampler.presets import PRESETS
from repaint_batch.sampler.repaint import RePaint
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import encoded, hole, job, picture, rows, save_tiny_prior, write_manifest
from ..restored import restore_here
from ..tiny_networks import tiny_unet


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preset of two steps."""
    monkeypatch.setitem(PRESETS, "fast", RePaint(2, 1, 1))


@pytest.fixture
def prior() -> RePaintPipeline:
    return RePaintPipeline(tiny_unet(), DDPMScheduler())


def scratch(height: int, width: int) -> np.ndarray:
    """Return an (H, W) bool mask, True = hole."""
    mask = np.zeros((height, width), dtype=bool)
    mask[height // 2, 2:-2] = True
    return mask


def test_the_prior_of_photographs_in_one_line() -> None:
    image, mask = Image.fromarray(picture(0, 40)), Image.fromarray(scratch(40, 40))
    restored = inpaint(image, mask, preset="draft")
    assert (restored.mode, restored.size) == ("RGB", (40, 40))
    hole = scratch(40, 40)
    assert np.array_equal(np.asarray(restored)[~hole], np.asarray(image)[~hole])
    assert not np.array_equal(np.asarray(restored)[hole], np.asarray(image)[hole])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "1"])
def test_a_picture_comes_back_in_its_own_mode(mode: str, prior: RePaintPipeline) -> None:
    image = Image.fromarray(picture(0, 20)).convert(mode)
    restored = inpaint(image, scratch(20, 20), prior=prior)
    assert (restored.mode, restored.size) == (mode, image.size)
    hole = scratch(20, 20)
    assert np.array_equal(np.asarray(restored)[~hole], np.asarray(image)[~hole])


@pytest.mark.parametrize("kind", ["uint8", "float32", "float64", "grey", "rgba"])
def test_an_array_comes_back_as_it_was(kind: str, prior: RePaintPipeline) -> None:
    rgb = picture(0, 20)
    image: Any = {
        "uint8": rgb,
        "float32": (rgb / 255).astype(np.float32) * np.float32(0.999),
        "float64": rgb / 255 * 0.999,
        "grey": rgb[..., 0],
        "rgba": np.dstack([rgb, np.full((20, 20), 200, np.uint8)]),
    }[kind]
    hole = scratch(20, 20)
    restored = inpaint(image, hole, prior=prior)
    assert (restored.shape, restored.dtype) == (image.shape, image.dtype)
    assert np.array_equal(restored[~hole], image[~hole])
    assert not np.array_equal(restored[hole], image[hole])


def test_seed_polarity_and_mask_types(prior: RePaintPipeline) -> None:
    image, hole = picture(0, 20), scratch(20, 20)
    first = inpaint(image, hole, prior=prior, seed=1)
    assert np.array_equal(first, inpaint(image, hole.astype(np.uint8) * 255, prior=prior, seed=1))
    assert np.array_equal(first, inpaint(image, hole.astype(np.float32), prior=prior, seed=1))
    assert np.array_equal(first, inpaint(image, ~hole, prior=prior, seed=1, hole="black"))
    assert not np.array_equal(first, inpaint(image, hole, prior=prior, seed=2))


def test_a_list_comes_back_as_one_and_each_as_if_it_were_alone(prior: RePaintPipeline) -> None:
    pictures, holes = [picture(0, 20), picture(1, 24)], [scratch(20, 20), scratch(24, 24)]
    both = inpaint(pictures, holes, prior=prior, sample_id=["a", "b"], seed=[1, 2], batch_windows=4)
    alone = [
        inpaint(one, hole, prior=prior, sample_id=name, seed=seed, batch_windows=4)
        for one, hole, name, seed in zip(pictures, holes, "ab", (1, 2), strict=True)
    ]
    assert all(np.array_equal(one, other) for one, other in zip(both, alone, strict=True))
    with pytest.raises(MaskInvalid, match="1 masks for 2 pictures"):
        inpaint(pictures, holes[:1], prior=prior)
    with pytest.raises(ConfigError, match="1 sample_ids and 2 seeds for 2"):
        inpaint(pictures, holes, prior=prior, sample_id=["a"])


def test_a_row_of_a_job_comes_out_as_in_its_table(tmp_path: Path) -> None:
    tiny_prior = save_tiny_prior(tmp_path / "prior")
    place = Place(str(tmp_path), StorageConfig())
    corpus = [{**row, "image": {"bytes": encoded(picture(number, 24)), "path": None},
               "mask": {"bytes": encoded(hole(number, 24)), "path": None}} for number, row in enumerate(rows(2))]  # fmt: skip
    settings = {"mask_grow_px": 1}
    config = job(place, write_manifest(place, corpus), tiny_prior, images=settings, compute={"precision": "bfloat16"})
    restore_here(config)
    restored = replay(config.output.uri, "picture-0001").picture
    assert restored is not None
    as_there: dict[str, Any] = {"preset": "draft", "images": settings, "batch_windows": 4, "precision": "bfloat16"}
    again = inpaint(picture(1, 24), hole(1, 24), prior=tiny_prior, sample_id="picture-0001", **as_there)
    assert np.array_equal(again, np.asarray(restored))
    (row,) = ResultsTable(config.output.uri, place.storage).rows(where=[("sample_id", "=", "picture-0001")])
    assert np.array_equal(again, np.asarray(Image.open(io.BytesIO(row["output"]))))


def test_bad_input_is_named(prior: RePaintPipeline) -> None:
    image, hole = picture(0, 20), scratch(20, 20)
    cases: list[tuple[Any, Any, dict[str, Any], type[Exception], str]] = [
        (image, np.zeros_like(hole), {}, MaskInvalid, "marks no hole"),
        (image, np.ones_like(hole), {}, MaskInvalid, "leaves no known pixel"),
        (image, scratch(20, 19), {}, MaskInvalid, "19"),
        (image, "mask.png", {}, MaskInvalid, "not str"),
        ("picture.png", hole, {}, ImageInvalid, "not str"),
        (image.astype(np.float32), hole, {}, ImageInvalid, r"in \[0, 1\]"),
        (image.astype(np.int32), hole, {}, ImageInvalid, "int32"),
        (image, hole, {"preset": "finest"}, ConfigError, "preset 'finest'"),
        (image, hole, {"preset": "fsat"}, ConfigError, "did you mean 'fast'"),
        (image, hole, {"precision": "float32"}, ConfigError, "a pipeline has its own"),
        (image, hole, {"seed": "x"}, ConfigError, "seed: 'x' is not a whole number"),
        (image, hole, {"seed": [0.5]}, ConfigError, "seed: 0.5 is not a whole number"),
        (image, hole, {"callback": print}, TypeError, "'callback'; .*RePaintPipeline has callback_on_step_end"),
        (image, hole, {"presett": "fast"}, TypeError, "did you mean 'preset'"),
        (image, hole, {"hole": "grey"}, ConfigError, "hole"),
    ]
    for given_image, mask, settings, error, message in cases:
        with pytest.raises(error, match=message):
            inpaint(given_image, mask, prior=prior, **settings)


def test_importing_the_package_stays_light() -> None:
    code = "import sys, repaint_batch; print(any(m in sys.modules for m in ('torch', 'diffusers', 'ray')))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.startswith("False")
    with pytest.raises(ImportError):
        exec("from repaint_batch import no_such_name")
    with pytest.raises(AttributeError, match="did you mean 'inpaint'"):
        exec("repaint_batch.inpiant")


def test_the_packages_own_help_fits_a_few_screens() -> None:
    words = pydoc.render_doc(repaint_batch, renderer=pydoc.plaintext)
    assert len(words.splitlines()) < 160
    assert "inpaint(picture, mask)" in words
    assert dir(repaint_batch) == ["RePaintPipeline", "__version__", "inpaint", "replay"]
