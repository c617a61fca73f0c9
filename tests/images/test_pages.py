"""TIFFs of several pages: each is restored by its own mask, or the first alone, and nothing else of the file changes."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from repaint_batch.config import ImagesConfig
from repaint_batch.errors import ImageInvalid, MaskInvalid
from repaint_batch.images.restoration import Restored, compose, prepare

from .corpus import photograph, saved

RESOLUTION = 32
ALL = ImagesConfig(frames="all")


def stack(*pages: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for number, page in enumerate(pages):
            photometric = "rgb" if page.ndim == 3 else "minisblack"
            tags = [(270, 2, 0, f"page {number}", True)]
            file.write(page, photometric=photometric, metadata=None, extratags=tags, rowsperstrip=8, **options)
    return buffer.getvalue()


def mask(width: int, height: int, left: int | None) -> np.ndarray:
    drawn = np.zeros((height, width), np.uint8)
    if left is not None:
        drawn[6:20, left : left + 12] = 255
    return drawn


PAGES = [photograph(3, width=50, height=40), photograph(1, np.uint16, 64, 30)[..., 0], photograph(3, np.uint16, 40, 48)]
MASKS = [mask(50, 40, 5), mask(64, 30, None), mask(40, 48, 20)]


def restored(data: bytes, drawn: bytes, config: ImagesConfig = ALL) -> Restored:
    prepared = prepare(data, drawn, config, RESOLUTION)
    filled = np.full((len(prepared.plan), RESOLUTION, RESOLUTION, 3), 0.37, np.float32)
    return compose(data, drawn, filled, config, RESOLUTION, "source")


@pytest.mark.parametrize("compression", [None, "lzw", "zstd"])
def test_every_page_is_restored_by_its_own_mask(compression: str | None) -> None:
    data = stack(*PAGES, compression=compression)
    done = restored(data, stack(*MASKS))
    assert (done.dropped, done.known_pixels_equal, done.largest_known_difference) == ((), True, 0)
    with tifffile.TiffFile(io.BytesIO(done.data)) as file:
        assert [page.tags[270].value for page in file.pages] == ["page 0", "page 1", "page 2"]
        for page, before, drawn in zip(file.pages, PAGES, MASKS, strict=True):
            after, hole = page.asarray(), drawn > 0
            assert (after.dtype, after.shape) == (before.dtype, before.shape)
            assert np.array_equal(after[~hole], before[~hole])
            assert not hole.any() or not np.array_equal(after[hole], before[hole])


def test_one_mask_serves_pages_of_its_size() -> None:
    data = stack(PAGES[0], PAGES[0][::-1])
    done = restored(data, saved(Image.fromarray(MASKS[0]), "PNG"))
    after = tifffile.TiffFile(io.BytesIO(done.data)).asarray(key=slice(None))
    assert np.array_equal(after[:, MASKS[0] == 0], np.stack([PAGES[0], PAGES[0][::-1]])[:, MASKS[0] == 0])
    assert not (after[1] == PAGES[0][::-1])[MASKS[0] > 0].all()


def test_of_the_first_page_alone_the_others_are_dropped_by_name() -> None:
    done = restored(stack(*PAGES), saved(Image.fromarray(MASKS[0]), "PNG"), ImagesConfig(frames="first"))
    assert done.dropped == ("other pages",)
    with tifffile.TiffFile(io.BytesIO(done.data)) as file:
        assert len(file.pages) == 1
    assert PAGES[2][30].tobytes() not in done.data, "nor does the file still hold them"


def test_pages_that_do_not_fit_are_refused() -> None:
    with pytest.raises(MaskInvalid, match=r"mask: has 2 pages, and the picture 3; give one for all, or one for each"):
        prepare(stack(*PAGES), stack(*MASKS[:2]), ALL, RESOLUTION)
    with pytest.raises(MaskInvalid, match=r"mask: 50x40 pixels, the picture is 64x30"):
        prepare(stack(*PAGES), saved(Image.fromarray(MASKS[0]), "PNG"), ALL, RESOLUTION)
    with pytest.raises(ImageInvalid, match=r"has several frames; set images.frames to first .*or to all"):
        prepare(stack(*PAGES), stack(*MASKS), ImagesConfig(), RESOLUTION)
    with pytest.raises(ImageInvalid, match=r"with the pages before, more than the 5000 that images.max_pixels allows"):
        prepare(stack(*PAGES), stack(*MASKS), ImagesConfig(frames="all", max_pixels=5000), RESOLUTION)
    with pytest.raises(ImageInvalid, match=r"of several pages cannot be kept in png; set output.format to source"):
        prepare(stack(PAGES[0], PAGES[0]), stack(MASKS[0], MASKS[0]), ALL, RESOLUTION, "png")
