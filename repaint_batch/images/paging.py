"""Several pages of one file: each has its own mask and plan, and all plans are one, page below page.

Pages lie so far apart in the plan that no window of one is ever near a window of another: nothing that knows of windows has
to know of pages.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from repaint_batch.config import ImagesConfig
from repaint_batch.errors import ImageInvalid, MaskInvalid
from repaint_batch.images.codec import Picture, read_pages
from repaint_batch.images.masks import read_keep_masks
from repaint_batch.images.windows import Window, plan_windows

_APART_PX = 2**30
"""More than the largest picture is high."""


def read_job(image: bytes, mask: bytes, config: ImagesConfig, *, as_coded: bool = False) -> list[tuple[Picture, np.ndarray]]:
    """Return the pages that are to be restored, and (H, W) bool over each as stored, True = known pixel.

    Args:
        image: encoded picture.
        mask: encoded mask of one page, or of as many as the picture has; or shapes.
        config: polarity and threshold of masks, what to do about pages, caps on what is decoded.
        as_coded: see `repaint_batch.images.codec.read_picture`.

    Raises:
        ImageInvalid, MaskInvalid: one of them cannot be read, or they do not fit.
    """
    pictures = read_pages(image, config, as_coded=as_coded)
    if len({picture.orientation for picture in pictures}) > 1:
        raise ImageInvalid("picture: its pages have different orientations; turn them alike, or split the file")
    return list(zip(pictures, read_keep_masks(mask, pictures, config), strict=True))


def plan_pages(keep_masks: Sequence[np.ndarray], resolution_px: int, config: ImagesConfig) -> tuple[Window, ...]:
    """Return the windows of all pages, those of page n lying n times `_APART_PX` lower than in it.

    Raises:
        MaskInvalid: there are more than the config allows.
    """
    plan: list[Window] = []
    for number, keep_mask in enumerate(keep_masks):
        first, low = len(plan), number * _APART_PX
        for window in plan_windows(keep_mask, resolution_px, most=config.max_windows):
            parent = None if window.parent is None else window.parent + first
            plan.append(replace(_moved(window, low), parent=parent))
    if len(plan) > config.max_windows:
        raise MaskInvalid(
            f"mask: its holes need {len(plan)} windows of {resolution_px} px, "
            f"more than the {config.max_windows} that images.max_windows allows"
        )
    return tuple(plan)


def page_of(window: Window) -> tuple[int, Window]:
    """Return the number of a window's page, and the window as it lies in it."""
    number = (window.duty[1]) // _APART_PX
    return number, _moved(window, -number * _APART_PX)


def _moved(window: Window, down_px: int) -> Window:
    left, top, right, bottom = window.duty
    return replace(window, top=window.top + down_px, duty=(left, top + down_px, right, bottom + down_px)) if down_px else window
