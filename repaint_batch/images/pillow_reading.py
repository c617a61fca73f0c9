"""PNG, JPEG, WebP, BMP and GIF by Pillow; PNG of 16 bits a sample by libpng, because Pillow hands out its high bytes only."""

import io
from dataclasses import replace

import numpy as np
from PIL import Image, UnidentifiedImageError

from repaint_batch.images.jpeg import is_luma_chroma
from repaint_batch.images.layout import Alpha, Kind, Layout
from repaint_batch.images.picture import Picture
from repaint_batch.images.png import chunks
from repaint_batch.images.refusal import Refused
from repaint_batch.images.sniffing import broken_png_chunk, format_of

_ORIENTATION_TAG = 0x0112
_PNG_DEPTH_AT, _PNG_COLOUR_AT = 24, 25
_PNG_16: dict[int, tuple[Kind, Alpha | None]] = {
    0: ("grey", None),
    2: ("rgb", None),
    4: ("grey", "straight"),
    6: ("rgb", "straight"),
}


def pages(data: bytes) -> list[int]:
    """Return the numbers of a file's frames. Raises Refused: its header cannot be read."""
    image = _opened(data)
    # A JPEG's further "frames" are previews and gain maps of the same photograph, not an animation.
    if image.format in ("JPEG", "MPO"):
        return [0]
    try:
        return list(range(int(getattr(image, "n_frames", 1)) if getattr(image, "is_animated", False) else 1))
    except Exception as error:
        raise Refused(f"its frames cannot be counted ({error})") from error


def size(data: bytes, page: int) -> tuple[int, int]:
    """Return width and height. Raises Refused: its header cannot be read."""
    return _opened(data).size


def _opened(data: bytes) -> Image.Image:
    name = format_of(data)
    try:
        return Image.open(io.BytesIO(data), formats=[str(name)])
    except Image.DecompressionBombError as error:
        raise Refused(f"{error}; it is not decoded") from error
    except UnidentifiedImageError as error:
        broken = broken_png_chunk(data) if name == "PNG" else None
        if broken is not None:
            raise Refused(
                f"its header cannot be read: the checksum of its chunk {broken} is wrong; repair it, for instance with pngfix"
            ) from error
        raise Refused(f"truncated or damaged {name}: its header cannot be read") from error
    except Exception as error:  # Pillow's plugins raise whatever broken headers provoke
        raise Refused(f"its header cannot be read ({type(error).__name__}: {error})") from error


def read(data: bytes, page: int, pages: int, as_coded: bool, least_px: int | None = None) -> Picture:
    """Return the first frame, whose size has been looked at.

    Args:
        data: encoded picture.
        page: 0.
        pages: how many frames there are.
        as_coded: hand out a colour JPEG as luma and chroma.
        least_px: decode a JPEG at half, a quarter or an eighth of its size, with sides no shorter than this; None: whole.

    Raises:
        Refused: truncated, damaged, or of a mode that cannot be written back.
    """
    image = _opened(data)
    name = "JPEG" if image.format == "MPO" else str(image.format)
    if as_coded and name == "JPEG" and is_luma_chroma(image):
        image.draft("YCbCr", None)
    if least_px is not None:
        image.draft(None, (least_px, least_px))
    is_deep = name == "PNG" and data[_PNG_DEPTH_AT] == 16
    try:
        layout = _deep_layout(data) if is_deep else Layout.of_mode(image.mode, _depth(image, data))
    except KeyError as error:
        raise Refused(f"pixels of mode {image.mode} are not restored; convert it to grey, RGB or CMYK") from error
    pixels: Image.Image | np.ndarray = _deep(data, layout) if is_deep else _loaded(image, name)
    if isinstance(pixels, np.ndarray):
        layout = _with_significant_bits(layout, pixels, data)
    if name == "PNG" and b"IEND" not in data:
        raise Refused("truncated PNG (its end is missing)")
    orientation = _orientation(image)
    palette = palette_of(image) if layout.kind == "palette" else None
    icc = image.info.get("icc_profile") or b""
    return Picture(pixels, layout, name, orientation, data, palette, icc=icc, pages=pages)


def _loaded(image: Image.Image, name: str) -> Image.Image:
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, IndexError, ...
        raise Refused(f"truncated or damaged {name} ({error})") from error
    return image


def _deep_layout(data: bytes) -> Layout:
    kind, alpha = _PNG_16[data[_PNG_COLOUR_AT]]
    return Layout.of_samples(kind, np.dtype(np.uint16), 16, alpha)


def _deep(data: bytes, layout: Layout) -> np.ndarray:
    import imagecodecs

    try:
        samples = imagecodecs.png_decode(data)
    except Exception as error:
        raise Refused(f"truncated or damaged PNG ({error})") from error
    # libpng adds opacity where one colour is declared transparent.
    samples = samples if samples.ndim == 2 else samples[..., : layout.samples]
    return np.ascontiguousarray(samples[..., 0] if samples.ndim == 3 and layout.samples == 1 else samples)


def _with_significant_bits(layout: Layout, samples: np.ndarray, data: bytes) -> Layout:
    """Return the layout of samples whose significant bits are the low ones.

    A PNG should scale samples of 12 bits to 16; scanners' and cameras' do not, and say so in sBIT alone.
    """
    for kind, whole in chunks(data):
        if kind == b"sBIT" and len(whole) > 12:
            bits = max(whole[8:-4])
            top = 2**bits - 1
            if 8 <= bits < 16 and samples.max(initial=0) <= top:
                return replace(layout, top=float(top))
    return layout


def _depth(image: Image.Image, data: bytes) -> int:
    if image.mode == "1":
        return 1
    # Grey and palette PNGs may have fewer bits a sample than the bytes they are decoded to.
    return data[_PNG_DEPTH_AT] if image.format == "PNG" else 8


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a corrupt EXIF block is kept as it is and says nothing about orientation
        return 1
    return int(value) if value in range(1, 9) else 1


def palette_of(image: Image.Image) -> np.ndarray:
    """Return (256, 4) uint8 RGBA entries of a palette."""
    palette = np.zeros((256, 4), dtype=np.uint8)
    colours = np.array(image.getpalette("RGBA") or [], dtype=np.uint8).reshape(-1, 4)
    palette[: len(colours)] = colours
    # Indices past the palette's end are in no file that keeps to its format; they are never chosen either.
    palette[len(colours) :, 3] = 0
    transparency = image.info.get("transparency")
    if isinstance(transparency, bytes):
        palette[: len(transparency), 3] = np.frombuffer(transparency[:256], dtype=np.uint8)
    elif isinstance(transparency, int) and transparency < len(palette):
        palette[transparency, 3] = 0
    return palette
