"""Odd pictures, made on the spot: every mode, depth, format and kind of metadata that owners have.

What Pillow cannot write itself is written by OpenCV or chunk by chunk, so that the reader under test never judges a
file of its own making.
"""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import cv2
import numpy as np
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin

WIDTH, HEIGHT = 70, 52
HOLE = (18, 12, 33, 30)
"""Box that the tests restore, off every 8x8 grid."""

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'


@dataclass(frozen=True)
class Odd:
    """One file: its bytes and what has to come back."""

    name: str
    data: bytes
    mode: str
    depth: int
    kept: tuple[str, ...] = field(default=())
    """Keys of Pillow's info that must come back equal."""
    orientation: int = 1


@cache
def srgb() -> bytes:  # once: a profile holds the second at which it was made
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def photograph(channels: int, dtype: type = np.uint8, width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> np.ndarray:
    """Return a smooth (H, W, C) picture with some grain over the full range of `dtype`."""
    y, x = np.mgrid[0:height, 0:width]
    rng = np.random.default_rng(seed)
    waves = [np.sin(x / (7 + 3 * c) + c) * np.cos(y / (9 - c)) for c in range(channels)]
    values = np.stack(waves, axis=-1) * 0.4 + 0.5 + rng.normal(0, 0.02, (height, width, channels))
    return (np.clip(values, 0, 1) * np.iinfo(dtype).max).round().astype(dtype)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def exif(orientation: int = 1) -> Image.Exif:
    tags = Image.Exif()
    tags[0x010F] = "Camera maker"
    tags[0x0112] = orientation
    tags[0x0132] = "2026:01:02 03:04:05"
    tags.get_ifd(0x8769)[0x9003] = "2025:01:02 03:04:05"
    tags.get_ifd(0x8769)[0x927C] = b"maker note \x00\x01\x02"
    tags.get_ifd(0x8825)[1] = "N"
    return tags


def rgb() -> Image.Image:
    return Image.fromarray(photograph(3))


def grey() -> Image.Image:
    return Image.fromarray(photograph(1)[..., 0])


def rgba() -> Image.Image:
    samples = photograph(4)
    samples[:10, :, 3] = 0
    samples[10:20, :, 3] = 128
    samples[20:, :, 3] = 255
    return Image.fromarray(samples)


def la() -> Image.Image:
    return Image.merge("LA", rgba().split()[2:])


def palette(colours: int = 200) -> Image.Image:
    return rgb().quantize(colours)


def cmyk() -> Image.Image:
    return Image.frombytes("CMYK", (WIDTH, HEIGHT), photograph(4).tobytes())


def grey16() -> Image.Image:
    return Image.fromarray(photograph(1, np.uint16)[..., 0])


def opencv(extension: str, samples: np.ndarray, *options: int) -> bytes:
    """Return samples (RGB or RGBA) encoded by OpenCV."""
    swapped = samples if samples.ndim == 2 else samples[..., [2, 1, 0, 3][: samples.shape[2]]]
    ok, data = cv2.imencode(extension, np.ascontiguousarray(swapped), list(options))
    assert ok
    return data.tobytes()


def png_by_hand(rows: np.ndarray, width: int, depth: int, colour_type: int, *between: bytes, interlace: int = 0) -> bytes:
    """Return a PNG of unfiltered rows of bytes, with `between` the chunks after IHDR."""
    lines = np.concatenate([np.zeros((len(rows), 1), np.uint8), rows], axis=1)
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour_type, 0, 0, interlace)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            png_chunk(b"IHDR", header),
            *between,
            png_chunk(b"IDAT", zlib.compress(lines.tobytes())),
            png_chunk(b"IEND", b""),
        ]
    )


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png_grey4() -> bytes:
    levels = photograph(1)[..., 0] >> 4
    return png_by_hand((levels[:, ::2] << 4) | levels[:, 1::2], WIDTH, 4, 0)


def _png_grey2() -> bytes:
    levels = photograph(1, width=72)[..., 0] >> 6
    rows = (levels[:, ::4] << 6) | (levels[:, 1::4] << 4) | (levels[:, 2::4] << 2) | levels[:, 3::4]
    return png_by_hand(rows, 72, 2, 0)


def _png_palette4() -> bytes:
    index = np.asarray(palette(16))
    colours = np.asarray(palette(16).getpalette(), dtype=np.uint8)
    rows = (index[:, ::2] << 4) | index[:, 1::2]
    return png_by_hand(rows, WIDTH, 4, 3, png_chunk(b"PLTE", colours.tobytes()), png_chunk(b"tRNS", b"\x00\x80"))


def _png_few_colours() -> bytes:
    colours = np.asarray(palette(10).getpalette(), dtype=np.uint8)
    return png_by_hand(np.asarray(palette(10)), WIDTH, 8, 3, png_chunk(b"PLTE", colours.tobytes()))


def _png_la16() -> bytes:
    samples = photograph(2, np.uint16)
    return png_by_hand(samples.astype(">u2").view(np.uint8).reshape(HEIGHT, -1), WIDTH, 16, 4)


def _png_all_metadata() -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "An owner")
    text.add_itxt("Title", "Grüße", lang="de")
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    text.add(b"prVt", b"a private chunk", after_idat=True)
    return saved(rgb(), "PNG", pnginfo=text, exif=exif(), icc_profile=srgb(), dpi=(300, 300))


def _tiff_big_endian() -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"MM")
    samples = photograph(3, np.uint16)
    for tag, value in {
        256: WIDTH,
        257: HEIGHT,
        258: (16, 16, 16),
        259: 1,
        262: 2,
        270: "sixteen bits, big end first",
        273: 0,
        277: 3,
        278: HEIGHT,
        279: samples.nbytes,
        282: TiffImagePlugin.IFDRational(300),
        283: TiffImagePlugin.IFDRational(300),
        296: 2,
    }.items():
        tags[tag] = value
    buffer = io.BytesIO()
    tags.save(buffer)
    return buffer.getvalue() + samples.astype(">u2").tobytes()


def _tiff_exif() -> bytes:
    return saved(rgb(), "TIFF", exif=exif(), compression="tiff_lzw", dpi=(240, 240), icc_profile=srgb())


def _float() -> Image.Image:
    return Image.fromarray(photograph(1)[..., 0].astype(np.float32) * 12.5 - 700)


def _int32() -> Image.Image:
    return Image.fromarray(photograph(1, np.uint16)[..., 0].astype(np.int32) * 1000 - 5)


def _corrupt_exif() -> bytes:
    broken = b"Exif\0\0II*\0\xff\xff\xff\x7f" + bytes(range(200))
    plain = saved(rgb(), "JPEG", quality=90)
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(broken) + 2) + broken + plain[2:]


def _photoshop() -> bytes:
    plain = saved(rgb(), "JPEG", quality=90, comment=b"a comment")
    block = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x08\x1c\x02\x05\0\x03abc"
    return plain[:2] + b"\xff\xed" + struct.pack(">H", len(block) + 2) + block + plain[2:]


def _transparent_palette() -> bytes:
    return saved(palette(), "PNG", transparency=3)


def make() -> list[Odd]:
    """Return the corpus."""
    full = {"exif": exif(), "icc_profile": srgb(), "dpi": (300, 300)}
    jpeg_kept = ("exif", "icc_profile", "dpi")
    rgb16, rgba16 = photograph(3, np.uint16), photograph(4, np.uint16)
    odd: list[Odd] = []

    def add(name: str, data: bytes | Callable[[], bytes], mode: str, depth: int = 8, *kept: str, **more: int) -> None:
        odd.append(Odd(name, data if isinstance(data, bytes) else data(), mode, depth, kept, **more))

    add("jpeg 4:2:0 exif icc dpi", saved(rgb(), "JPEG", quality=85, **full), "RGB", 8, *jpeg_kept)
    add("jpeg 4:4:4 q97", saved(rgb(), "JPEG", quality=97, subsampling=0), "RGB")
    add("jpeg 4:2:2 progressive", saved(rgb(), "JPEG", quality=70, subsampling=1, progressive=True), "RGB", 8, "progressive")
    add("jpeg 4:1:1", opencv(".jpg", photograph(3), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x411111), "RGB")
    add("jpeg 4:4:0", opencv(".jpg", photograph(3), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x121111), "RGB")
    add("jpeg restart intervals", opencv(".jpg", photograph(3), cv2.IMWRITE_JPEG_RST_INTERVAL, 4), "RGB")
    add("jpeg stored as rgb", saved(rgb(), "JPEG", quality=90, keep_rgb=True), "RGB", 8)
    add("jpeg grey", saved(grey(), "JPEG", quality=80, dpi=(72, 72)), "L", 8, "dpi")
    add("jpeg cmyk", saved(cmyk(), "JPEG", quality=90), "CMYK")
    add("jpeg xmp", saved(rgb(), "JPEG", xmp=XMP), "RGB", 8, "xmp")
    add("jpeg photoshop block, comment", _photoshop, "RGB", 8, "photoshop", "comment")
    add("jpeg corrupt exif", _corrupt_exif, "RGB", 8, "exif")
    add("jpeg corrupt icc", saved(rgb(), "JPEG", icc_profile=b"no profile" * 30), "RGB", 8, "icc_profile")
    for orientation in range(2, 9):
        data = saved(rgb(), "JPEG", quality=95, exif=exif(orientation))
        add(f"jpeg orientation {orientation}", data, "RGB", 8, "exif", orientation=orientation)
    add("png rgb all metadata", _png_all_metadata, "RGB", 8, "Author", "Title", "xmp", "exif", "icc_profile", "dpi")
    add("png rgba", saved(rgba(), "PNG"), "RGBA")
    add("png grey+alpha", saved(la(), "PNG"), "LA")
    add("png 1-bit", saved(grey().convert("1"), "PNG"), "1", 1)
    add("png grey 2-bit", _png_grey2, "L", 2)
    add("png grey 4-bit", _png_grey4, "L", 4)
    add("png palette", saved(palette(), "PNG", dpi=(96, 96)), "P", 8, "dpi")
    add("png palette of 10 colours in 8 bits", _png_few_colours, "P", 8)
    add("png palette 4-bit, transparency", _png_palette4, "P", 4, "transparency")
    add("png palette transparent index", _transparent_palette, "P", 8, "transparency")
    add("png transparent colour", saved(rgb(), "PNG", transparency=(1, 2, 3)), "RGB", 8, "transparency")
    add("png grey 16-bit", saved(grey16(), "PNG"), "I;16", 16)
    add("png rgb 16-bit", opencv(".png", rgb16), "RGB;16", 16)
    add("png rgba 16-bit", opencv(".png", rgba16), "RGBA;16", 16)
    add("png grey+alpha 16-bit", _png_la16, "LA;16", 16)
    add("png corrupt icc", saved(rgb(), "PNG", icc_profile=b"no profile"), "RGB", 8, "icc_profile")
    add("png orientation 6", saved(rgb(), "PNG", exif=exif(6)), "RGB", 8, "exif", orientation=6)
    add("webp lossless rgb", saved(rgb(), "WEBP", lossless=True, exif=exif(), icc_profile=srgb(), xmp=XMP), "RGB", 8,
        "exif", "icc_profile", "xmp")
    add("webp lossless rgba", saved(rgba(), "WEBP", lossless=True, exact=True), "RGBA")
    add("webp lossy", saved(rgb(), "WEBP", quality=80, exif=exif()), "RGB", 8, "exif")
    add("tiff rgb lzw exif icc", _tiff_exif, "RGB", 8, "dpi", "icc_profile")
    add("tiff rgba deflate", saved(rgba(), "TIFF", compression="tiff_adobe_deflate"), "RGBA")
    add("tiff grey uncompressed", saved(grey(), "TIFF", dpi=(600, 600)), "L", 8, "dpi")
    add("tiff grey+alpha", saved(la(), "TIFF"), "LA")
    add("tiff 1-bit group 4", saved(grey().convert("1"), "TIFF", compression="group4"), "1", 1)
    add("tiff palette", saved(palette(), "TIFF"), "P")
    add("tiff cmyk", saved(cmyk(), "TIFF", compression="tiff_lzw"), "CMYK")
    add("tiff grey 16-bit", saved(grey16(), "TIFF"), "I;16", 16)
    add("tiff rgb 16-bit lzw", opencv(".tiff", rgb16, cv2.IMWRITE_TIFF_COMPRESSION, 5), "RGB;16", 16)
    add("tiff rgba 16-bit", opencv(".tiff", rgba16, cv2.IMWRITE_TIFF_COMPRESSION, 1), "RGBA;16", 16)
    add("tiff rgb 16-bit big-endian", _tiff_big_endian, "RGB;16", 16, "dpi")
    add("tiff float", saved(_float(), "TIFF"), "F", 32)
    add("tiff 32-bit", saved(_int32(), "TIFF"), "I", 32)
    add("tiff jpeg inside", saved(rgb(), "TIFF", compression="jpeg"), "RGB")
    add("tiff orientation 8", saved(rgb(), "TIFF", tiffinfo={274: 8}), "RGB", 8, orientation=8)
    add("bmp rgb", saved(rgb(), "BMP", dpi=(120, 120)), "RGB", 8, "dpi")
    add("bmp palette", saved(palette(), "BMP"), "P")
    add("bmp 1-bit", saved(grey().convert("1"), "BMP"), "1", 1)
    add("gif palette", saved(palette(), "GIF", comment=b"a comment"), "P", 8, "comment")
    add("gif transparent", saved(palette(100), "GIF", transparency=7), "P", 8, "transparency")
    return odd
