"""Strangers' bytes to pixels, at the depth they were stored in.

Nothing is decoded before its size in bytes, its format and its size in pixels have been looked at; formats outside the
list, animations, truncated files and layouts that cannot be written back are refused with a reason. Which library reads
which format is a table, `repaint_batch.images.formats`.
"""

import warnings

from PIL import Image

from repaint_batch.config import ImagesConfig
from repaint_batch.errors import ImageInvalid, MaskInvalid
from repaint_batch.images import formats, pillow_reading
from repaint_batch.images.box import Box
from repaint_batch.images.picture import Extent, Picture
from repaint_batch.images.refusal import Refused
from repaint_batch.images.sniffing import described, format_of

__all__ = ["Box", "Picture", "check_bytes", "read_mask_pages", "read_mask_picture", "read_pages", "read_picture"]

Refusal = type[ImageInvalid | MaskInvalid]

_KEPT_BLOCKS = 16
"""Blocks of 16 MiB that Pillow keeps for the next picture: enough for three of 20 megapixels."""

# By default Pillow hands the memory of every picture back to the system; to be given it again, page by page, takes a fifth
# of the time in which a large JPEG is composed.
Image.core.set_blocks_max(_KEPT_BLOCKS)  # type: ignore[attr-defined]


def read_picture(data: bytes, config: ImagesConfig, *, as_coded: bool = False) -> Picture:
    """Return the picture in `data`; of several pages the first.

    Args:
        data: encoded picture.
        config: caps, and what to do about animations.
        as_coded: hand out a colour JPEG as the luma and chroma that it stores, mode YCbCr, and not as RGB.

    Raises:
        ImageInvalid: bytes over the caps, of another format, truncated, animated, or of a layout that cannot be kept.
    """
    return _read(data, config, ImageInvalid, "picture", as_coded)[0]


def read_pages(data: bytes, config: ImagesConfig, *, as_coded: bool = False) -> list[Picture]:
    """Return the pictures in `data` that are to be restored: one, or every page where the config says so.

    Raises:
        ImageInvalid: as `read_picture` raises it.
    """
    return _read(data, config, ImageInvalid, "picture", as_coded, all_pages=True)


def read_reduced(data: bytes, config: ImagesConfig, least_px: int | None) -> list[tuple[Picture, Extent]]:
    """Return the pictures in `data` for people to look at, and how large they are.

    Args:
        data: encoded picture.
        config: caps, and what to do about pages.
        least_px: a JPEG is decoded at half, a quarter or an eighth of its size if its shorter side stays as large as this;
            None: at its full size.

    Raises:
        ImageInvalid: as `read_picture` raises it.
    """
    pictures = _read(data, config, ImageInvalid, "picture", all_pages=True, least_px=least_px)
    is_reduced = format_of(data) == "JPEG"
    sizes = [pillow_reading.size(data, 0) if is_reduced else picture.size for picture in pictures]
    return [(picture, Extent(size, picture.orientation)) for picture, size in zip(pictures, sizes, strict=True)]


def read_mask_picture(data: bytes, config: ImagesConfig) -> Picture:
    """Return the picture in `data`, faults named as the mask's; its largest sample is white.

    Raises:
        MaskInvalid: as `read_picture` raises ImageInvalid.
    """
    return read_mask_pages(data, config)[0]


def read_mask_pages(data: bytes, config: ImagesConfig) -> list[Picture]:
    """Return one mask, or one of every page where the config says so.

    Raises:
        MaskInvalid: as `read_picture` raises ImageInvalid.
    """
    masks = _read(data, config, MaskInvalid, "mask", all_pages=True)
    for mask in masks:
        mask.turn_positive()
    return masks


def _read(
    data: bytes,
    config: ImagesConfig,
    refusal: Refusal,
    what: str,
    as_coded: bool = False,
    all_pages: bool = False,
    least_px: int | None = None,
) -> list[Picture]:
    check_bytes(data, config, refusal, what)
    name = format_of(data)
    if name is None:
        raise refusal(f"{what}: {described(data, tuple(formats.FORMATS))}")
    reader = formats.FORMATS[name].reader()
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata and of large pictures; the first is kept as it is, the second has its own cap.
            warnings.simplefilter("ignore")
            pages = reader.pages(data)
            chosen = pages[:1]
            if len(pages) > 1:
                if config.frames == "refuse":
                    raise Refused(
                        "has several frames; set images.frames to first to restore the first and drop the rest, "
                        "or to all to restore every page of a TIFF"
                    )
                if config.frames == "all":
                    if name != "TIFF":
                        raise Refused(f"has several frames, and {name} is not restored page by page; set images.frames to first")
                    chosen = pages if all_pages else pages[:1]
            _check_sizes([reader.size(data, page) for page in chosen], config)
            if least_px is not None and name == "JPEG":
                return [pillow_reading.read(data, 0, len(pages), as_coded, least_px)]
            return [reader.read(data, page, len(pages), as_coded) for page in chosen]
    except Refused as error:
        raise refusal(f"{what}: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged header leads parsers astray in ways of its own
        raise refusal(f"{what}: truncated or damaged {name} ({type(error).__name__}: {error})") from error


def check_bytes(data: bytes, config: ImagesConfig, refusal: Refusal, what: str) -> None:
    """Raise `refusal` if there are no bytes or more than the config allows."""
    if not data:
        raise refusal(f"{what}: zero bytes; the object is empty")
    if len(data) > config.max_bytes:
        raise refusal(f"{what}: {len(data)} bytes, more than the {config.max_bytes} that images.max_bytes allows")


def _check_sizes(sizes: list[tuple[int, int]], config: ImagesConfig) -> None:
    total = 0
    for width, height in sizes:
        pixels = width * height
        if not pixels:
            raise Refused(f"{width}x{height} holds no pixel")
        total += pixels
        if total > config.max_pixels:
            raise Refused(
                f"{width}x{height} is {total} pixels{' with the pages before' if total > pixels else ''}, "
                f"more than the {config.max_pixels} that images.max_pixels allows; it is not decoded"
            )


