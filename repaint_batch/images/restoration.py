"""From the owner's bytes to what a prior sees, and from what it restored back to the owner's bytes.

Two pure functions, so that blocks between the stages of a job carry encoded bytes and windows and never whole decoded
pictures: `prepare` cuts the windows, `compose` decodes the source once more, recomputes the same windows and writes the
restored hole into them.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from repaint_batch.config import ImagesConfig, OutputFormat
from repaint_batch.errors import ImageInvalid, MaskInvalid


@dataclass(frozen=True)
class Prepared:
    """A picture as the prior sees it.

    Attributes:
        windows: (N, R, R, 3) float32 in [-1, 1]; what stands in the hole is arbitrary but always the same.
        keep_mask: (N, R, R) bool, True = known pixel.
        width_px: width of the picture as stored, before any orientation tag.
        height_px: its height.
        format: Pillow's name of the picture's format: PNG, JPEG, WEBP, ...
        mode: Pillow's name of its pixels: L, RGB, CMYK, ...
        hole_fraction: unknown pixels / all pixels; 0: nothing to do, and no windows.
    """

    windows: np.ndarray
    keep_mask: np.ndarray
    width_px: int
    height_px: int
    format: str
    mode: str
    hole_fraction: float


@dataclass(frozen=True)
class Restored:
    """A restored picture, encoded.

    Attributes:
        data: the bytes to publish.
        format: Pillow's name of their format.
        known_pixels_equal: every pixel outside the hole, as encoded from, equals the source's decoded pixel.
        largest_known_difference: largest difference of a decoded pixel outside the hole, in steps of the source's depth;
            0 for lossless formats.
        seam_score: gradient across the hole's rim over that inside the hole; about 1 where no seam shows, None where
            the picture gives no rim to measure.
    """

    data: bytes
    format: str
    known_pixels_equal: bool
    largest_known_difference: float
    seam_score: float | None


def prepare(image: bytes, mask: bytes, config: ImagesConfig, resolution_px: int) -> Prepared:
    """Return the windows of a picture that a prior of `resolution_px` is to restore.

    Args:
        image: encoded picture.
        mask: encoded mask of the same size.
        config: polarity and threshold of masks, caps on what is decoded.
        resolution_px: side R of the prior's square input.

    Raises:
        ImageInvalid: bytes that are no picture, a truncated one, or one over the caps.
        MaskInvalid: the same of the mask, or one of another size than the picture.
    """
    picture = _decode(image, config, ImageInvalid, "picture")
    keep = _keep_mask(mask, picture.size, config)
    hole_fraction = float(1 - keep.mean())
    window, known = _window(picture, keep, resolution_px)
    count = 1 if hole_fraction else 0
    return Prepared(
        windows=window[None][:count],
        keep_mask=known[None][:count],
        width_px=picture.width,
        height_px=picture.height,
        format=str(picture.format),
        mode=picture.mode,
        hole_fraction=hole_fraction,
    )


def compose(
    image: bytes,
    mask: bytes,
    restored: np.ndarray,
    config: ImagesConfig,
    resolution_px: int,
    output_format: OutputFormat,
) -> Restored:
    """Return the picture with its hole filled and everything else unchanged.

    Args:
        image: encoded picture, as it was given to `prepare`.
        mask: encoded mask, likewise.
        restored: (N, R, R, 3) float32 in [-1, 1], in the order of `Prepared.windows`.
        config: as given to `prepare`.
        resolution_px: side R of the prior's square input.
        output_format: encoding of the result; ``source`` keeps the picture's own.
    """
    picture = _decode(image, config, ImageInvalid, "picture")
    keep = _keep_mask(mask, picture.size, config)
    source = np.asarray(picture.convert("RGB"))
    side = max(picture.size)
    bytes_ = np.clip((restored[0] + 1) * 127.5 + 0.5, 0, 255).astype(np.uint8)
    filled = Image.fromarray(bytes_).resize((side, side), Image.Resampling.LANCZOS)
    filled_pixels = np.asarray(filled)[: picture.height, : picture.width]
    pixels = np.where(keep[..., None], source, filled_pixels)
    file_format = {"source": str(picture.format), "png": "PNG", "webp-lossless": "WEBP", "jpeg": "JPEG"}[output_format]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, **({"lossless": True} if file_format == "WEBP" else {}))
    equal = bool((pixels[keep] == source[keep]).all())
    return Restored(buffer.getvalue(), file_format, equal, 0.0, None)


def _decode(data: bytes, config: ImagesConfig, error: type[ImageInvalid | MaskInvalid], what: str) -> Image.Image:
    if len(data) > config.max_bytes:
        raise error(f"{what}: {len(data)} bytes, more than the {config.max_bytes} that images.max_bytes allows")
    try:
        picture = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"))
        if picture.width * picture.height > config.max_pixels:
            raise error(f"{what}: {picture.width}x{picture.height} pixels, over images.max_pixels {config.max_pixels}")
        picture.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as fault:
        raise error(f"{what}: cannot be decoded ({fault})") from fault
    return picture


def _keep_mask(mask: bytes, size: tuple[int, int], config: ImagesConfig) -> np.ndarray:
    decoded = _decode(mask, config, MaskInvalid, "mask").convert("L")
    if decoded.size != size:
        raise MaskInvalid(f"mask: {decoded.width}x{decoded.height} pixels, the picture is {size[0]}x{size[1]}")
    white = np.asarray(decoded) >= 255 * config.mask_threshold
    return ~white if config.hole == "white" else white


def _window(picture: Image.Image, keep: np.ndarray, resolution_px: int) -> tuple[np.ndarray, np.ndarray]:
    side = max(picture.size)
    canvas = Image.new("RGB", (side, side))
    canvas.paste(picture.convert("RGB"))
    square = np.ones((side, side), dtype=bool)
    square[: picture.height, : picture.width] = keep
    size = (resolution_px, resolution_px)
    pixels = np.asarray(canvas.resize(size, Image.Resampling.LANCZOS), dtype=np.float32)
    known = np.asarray(Image.fromarray(square.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)) == 255
    return pixels / np.float32(127.5) - 1, known
