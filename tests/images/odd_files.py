"""Files of every kind that archives hold, each drawn from choices, and written by libraries or by hand, never by the product.

A previous picture is hidden in all that could still show it: wherever `SECRET` is found in a result, something stale was kept.
"""

import base64
import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2
import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from .corpus import opencv, photograph, png_chunk, saved, srgb

WIDTH, HEIGHT = 48, 40
HOLE = (8, 6, 20, 16)
SECRET = b"WHAT-STOOD-IN-THE-HOLE"
XMP_OPEN = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="an archive" '
)
XMP_CLOSE = b"</rdf:Description></rdf:RDF></x:xmpmeta>"


@dataclass(frozen=True)
class OddFile:
    """One file.

    Attributes:
        name: what it is.
        data: its bytes.
        kind: format.
        lost: words of which each has to be in one of the names that are dropped.
        refused: part of the reason why it is not restored; empty: it is.
        orientation: in which it is displayed.
        size: width and height of the whole.
    """

    name: str
    data: bytes
    kind: str
    lost: tuple[str, ...] = ()
    refused: str = ""
    orientation: int = 1
    size: tuple[int, int] = (WIDTH, HEIGHT)


Choose = Callable[[str, list[Any]], Any]
"""Returns one of several values for a name; how, is the test's."""


def samples_of(channels: int, dtype: type, top: float | None = None, seed: int = 0) -> np.ndarray:
    """Return a (H, W) or (H, W, C) picture over most of the range up to `top`."""
    values = photograph(max(channels, 1), np.uint16, WIDTH, HEIGHT, seed) / 65535
    kind = np.dtype(dtype)
    if kind.kind == "f":
        found = (values * (top or 900.0) - 100).astype(kind)
    else:
        limits = np.iinfo(kind)
        low, high = float(limits.min) * 0.9, (top if top is not None else float(limits.max) * 0.9)
        found = np.clip(np.rint(low + values * (high - low)), limits.min, np.nextafter(float(limits.max), 0)).astype(kind)
    return found if channels > 1 else found[..., 0]


def preview() -> bytes:
    """Return a small JPEG with `SECRET` in it."""
    plain = opencv(".jpg", photograph(3, np.uint8, 24, 20))
    return plain[:2] + b"\xff\xfe" + struct.pack(">H", len(SECRET) + 2) + SECRET + plain[2:]


def xmp(kind: str) -> tuple[bytes, tuple[str, ...]]:
    """Return a packet, and what has to be named as gone from it."""
    if kind == "thumbnail":
        secret = base64.b64encode(preview())
        inner = (
            b'<xmp:Thumbnails xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:g="http://ns.adobe.com/xap/1.0/g/img/"><rdf:Alt>'
            b'<rdf:li rdf:parseType="Resource"><g:format>JPEG</g:format><g:image>' + secret + b"</g:image></rdf:li></rdf:Alt>"
            b"</xmp:Thumbnails>"
        )
        return XMP_OPEN + b">" + inner + XMP_CLOSE, ("thumbnail",)
    if kind == "gain map":
        more = b'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0" hdrgm:GainMapMax="2"'
        return XMP_OPEN + more + b">" + XMP_CLOSE, ("gain map",)
    return XMP_OPEN + b">" + b"<dc:title>Gr\xc3\xbc\xc3\x9fe</dc:title>" + XMP_CLOSE, ()


def resources(with_thumbnail: bool) -> bytes:
    """Return Photoshop's image resources: IPTC, and a thumbnail."""
    found = b"8BIM" + struct.pack(">H", 0x0404) + b"\0\0" + struct.pack(">I", 8) + b"\x1c\x02\x05\0\x03abc"
    if with_thumbnail:
        body = struct.pack(">IIIIIIHH", 1, 24, 20, 72, 1440, len(preview()), 24, 1) + preview()
        found += b"8BIM" + struct.pack(">H", 0x040C) + b"\0\0" + struct.pack(">I", len(body)) + body + b"\0" * (len(body) % 2)
    return found


def exif_block(with_thumbnail: bool, order: str = "<") -> bytes:
    """Return EXIF with a maker, an interoperability directory, and a thumbnail in a second directory."""

    def entry(tag: int, kind: int, count: int, value: int | bytes) -> bytes:
        if isinstance(value, bytes):
            packed = value
        else:
            packed = struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
        return struct.pack(order + "HHI", tag, kind, count) + packed

    mark = b"II*\0" if order == "<" else b"MM\0*"
    first_at, exif_at = 8, 8 + 2 + 3 * 12 + 4
    interop_at = exif_at + 2 + 12 + 4
    second_at = interop_at + 2 + 12 + 4
    preview_at = second_at + 2 + 2 * 12 + 4
    first = struct.pack(order + "H", 3) + entry(0x010F, 2, 4, b"Cam\0") + entry(0x0112, 3, 1, 1) + entry(0x8769, 4, 1, exif_at)
    first += struct.pack(order + "I", second_at if with_thumbnail else 0)
    inner = struct.pack(order + "H", 1) + entry(0xA005, 4, 1, interop_at) + bytes(4)
    interop = struct.pack(order + "H", 1) + entry(1, 2, 4, b"R98\0") + bytes(4)
    second = struct.pack(order + "H", 2) + entry(0x0201, 4, 1, preview_at) + entry(0x0202, 4, 1, len(preview())) + bytes(4)
    head = mark + struct.pack(order + "I", first_at) + first + inner + interop
    return b"Exif\0\0" + head + (second + preview() if with_thumbnail else b"")


# --- TIFF

_TIFF_COLOURS = {
    "grey": (1, "minisblack"),
    "inverted": (1, "miniswhite"),
    "rgb": (3, "rgb"),
    "cmyk": (4, "separated"),
    "lab": (3, "cielab"),
    "palette": (1, "palette"),
}


def tiff(choose: Choose) -> OddFile:
    """Return a TIFF of drawn colours, type, further channels, arrangement, compression and tags."""
    colours = choose("colours", list(_TIFF_COLOURS))
    count, photometric = _TIFF_COLOURS[colours]
    if colours == "palette" or colours == "lab":
        dtype: Any = np.uint8
    elif colours == "cmyk":
        dtype = choose("type", [np.uint8, np.uint16])
    else:
        dtype = choose("type", [np.uint8, np.uint16, np.uint32, np.uint64, np.int8, np.int16, np.int32, np.float16, np.float32,
                                np.float64])
    extras = choose("further channels", [[], ["unassalpha"], ["assocalpha"], ["unspecified"], ["unspecified"] * 2])
    extras = [] if colours in ("palette", "lab", "inverted") else extras
    size = np.dtype(dtype).itemsize
    compression = choose("compression", [None, "lzw", "deflate", "zstd", "packbits", "lzma"])
    predictor = None
    if compression in ("lzw", "deflate", "zstd") and colours != "palette":
        predictor = choose("predictor", [None, 3] if np.dtype(dtype).kind == "f" else [None, 2])
    samples = samples_of(count + len(extras), dtype, seed=choose("seed", [0, 1, 2]))
    options: dict[str, Any] = {
        "photometric": photometric,
        "compression": compression,
        "predictor": predictor,
        "metadata": None,
        "rowsperstrip": choose("rows", [7, 16, 40]),
        "tile": choose("tile", [None, None, (16, 32)]),
    }
    if extras:
        options["extrasamples"] = extras
    if count + len(extras) > 1:
        planar = choose("planes", ["contig", "separate"])
        options["planarconfig"] = planar
        samples = np.moveaxis(samples, -1, 0) if planar == "separate" else samples
    if colours == "palette":
        entries = np.arange(256, dtype=np.uint16) * 200 + 77
        options["colormap"] = np.stack([entries, entries[::-1], entries])
    tags, lost = _tags(choose)
    options["extratags"] = tags
    big = choose("big", [False, True])
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, bigtiff=big, byteorder=choose("order", ["<", ">"])) as file:
        below = choose("preview", ["none", "below", "second page"])
        small = np.frombuffer(SECRET.ljust(20 * 24 * 3, b"."), np.uint8).reshape(20, 24, 3)
        file.write(samples, subifds=1 if below == "below" else None, **options)
        if below != "none":
            file.write(small, photometric="rgb", metadata=None, subfiletype=1)
            lost += ("smaller copies",)
    name = f"tiff {colours} {np.dtype(dtype).name} +{len(extras)} {compression} {size}"
    return OddFile(name, buffer.getvalue(), "TIFF", lost)


def _tags(choose: Choose) -> tuple[list[tuple[int, int, int, Any, bool]], tuple[str, ...]]:
    tags: list[tuple[int, int, int, Any, bool]] = []
    lost: tuple[str, ...] = ()
    if choose("own tags", [False, True]):
        tags += [(65001, 4, 3, (1, 2, 70000), True), (65002, 2, 0, "a note", True), (33723, 4, 2, (0x1C020500, 0x03616263), True)]
        tags += [(65010, 12, 2, (1.5, -2.5), True), (34675, 7, len(srgb()), srgb(), True)]
    kind = choose("xmp", ["none", "plain", "thumbnail"])
    if kind != "none":
        packet, gone = xmp(kind)
        tags.append((700, 1, len(packet), packet, True))
        lost += gone
    kind = choose("photoshop", ["none", "plain", "thumbnail", "layers"])
    if kind != "none":
        block = resources(kind == "thumbnail")
        tags.append((34377, 1, len(block), block, True))
        lost += ("thumbnail",) if kind == "thumbnail" else ()
    if kind == "layers":
        layers = b"Adobe Photoshop Document Data Block\0" + SECRET
        tags.append((37724, 7, len(layers), layers, True))
        lost += ("layers",)
    return tags, lost


def packed_tiff(choose: Choose) -> OddFile:
    """Return a TIFF whose samples are not of whole bytes, written by hand."""
    bits = choose("bits", [1, 2, 4, 10, 12, 14])
    inverted, fill = choose("inverted", [False, True]), choose("fill order", [1, 2])
    order, colours = choose("order", ["<", ">"]), b""
    if bits <= 4 and choose("palette", [False, True]):
        # Entries of 8 bits, in both bytes of the 16 that are asked for.
        entries = np.random.default_rng(3).integers(0, 256, 3 << bits).astype(np.uint16) * np.uint16(257)
        colours = entries.astype(f"{order}u2").tobytes()
    values = samples_of(1, np.uint16, 2.0**bits - 1, choose("seed", [0, 1]))
    spread = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    data = np.packbits(spread.reshape(HEIGHT, -1).astype(np.uint8), axis=1).tobytes()
    data = imagecodecs.bitorder_encode(data) if fill == 2 else data
    meaning = 3 if colours else 0 if inverted else 1
    tags = {256: WIDTH, 257: HEIGHT, 258: bits, 259: 1, 262: meaning, 266: fill, 277: 1, 278: HEIGHT}
    count = len(tags) + 2 + bool(colours)
    at = 8 + 2 + 12 * count + 4
    listed = [(tag, 4, 1, value) for tag, value in {**tags, 273: at + len(colours), 279: len(data)}.items()]
    listed += [(320, 3, 3 << bits, at)] if colours else []
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, count)
    directory = b"".join(struct.pack(order + "HHII", *entry) for entry in sorted(listed))
    return OddFile(f"tiff of {bits} bits", head + directory + bytes(4) + colours + bytes(data), "TIFF")


# --- PNG

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def png(choose: Choose) -> OddFile:
    """Return a PNG of drawn depth, colours and chunks."""
    colours = choose("colours", [0, 2, 3, 4, 6])
    depth = choose("depth", {0: [1, 2, 4, 8, 16], 3: [1, 2, 4, 8]}.get(colours, [8, 16]))
    values = samples_of(_PNG_CHANNELS[colours], np.uint16, 2.0**depth - 1, choose("seed", [0, 1]))
    rows = values.reshape(HEIGHT, -1)
    if depth == 16:
        data = rows.astype(">u2").view(np.uint8)
    elif depth == 8:
        data = rows.astype(np.uint8)
    else:
        spread = (rows[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        data = np.packbits(spread.reshape(HEIGHT, -1).astype(np.uint8), axis=1)
    before, after, lost = _chunks(choose, colours, depth)
    lines = np.concatenate([np.zeros((HEIGHT, 1), np.uint8), data], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colours, 0, 0, 0)
    packed = zlib.compress(lines)
    parts = [b"\x89PNG\r\n\x1a\n", png_chunk(b"IHDR", header), *before]
    if colours == 3:
        palette = np.random.default_rng(1).integers(0, 256, (2**depth, 3)).astype(np.uint8)
        parts.append(png_chunk(b"PLTE", palette.tobytes()))
        if choose("transparency", [False, True]):
            parts.append(png_chunk(b"tRNS", bytes([0, 128])[: 2**depth]))
    elif colours in (0, 2) and choose("transparency", [False, True]):
        parts.append(png_chunk(b"tRNS", values[0, 0].astype(">u2").tobytes()))
    cut = choose("cut", [0, len(packed) // 2])
    parts += [png_chunk(b"IDAT", packed[:cut]), png_chunk(b"IDAT", packed[cut:])] if cut else [png_chunk(b"IDAT", packed)]
    parts += [*after, png_chunk(b"IEND", b"")]
    if choose("more", [False, True]):
        parts.append(b"PK\x03\x04" + SECRET)
        lost += ("after the picture",)
    return OddFile(f"png of colours {colours} in {depth} bits", b"".join(parts), "PNG", lost)


def _chunks(choose: Choose, colours: int, depth: int) -> tuple[list[bytes], list[bytes], tuple[str, ...]]:
    before, after, lost = [], [], ()
    if choose("text", [False, True]):
        before += [png_chunk(b"tEXt", b"Comment\0hello"), png_chunk(b"pHYs", struct.pack(">IIB", 3000, 3000, 1))]
        before += [png_chunk(b"zTXt", b"Long\0\0" + zlib.compress(b"text")), png_chunk(b"gAMA", struct.pack(">I", 45455))]
    if choose("profile", [False, True]):
        before.append(png_chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(srgb())))
    kind = choose("xmp", ["none", "plain", "thumbnail", "gain map"])
    if kind != "none":
        packet, gone = xmp(kind)
        before.append(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet))
        lost += gone
    kind = choose("exif", ["none", "plain", "thumbnail"])
    if kind != "none":
        after.append(png_chunk(b"eXIf", exif_block(kind == "thumbnail")[6:]))
        lost += ("EXIF",) if kind == "thumbnail" else ()
    if choose("own chunks", [False, True]):
        before += [png_chunk(b"prVt", b"safe to copy"), png_chunk(b"prVT", SECRET), png_chunk(b"caBX", SECRET)]
        after.append(png_chunk(b"tIME", struct.pack(">HBBBBB", 2020, 1, 2, 3, 4, 5)))
        lost += ("prVT", "C2PA", "tIME")
    return before, after, lost


# --- JPEG


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg(choose: Choose) -> OddFile:
    """Return a JPEG of drawn colours, sampling, scans and segments."""
    kind = choose("colours", ["grey", "ycc", "rgb", "cmyk"])
    quality = choose("quality", [40, 75, 92])
    if kind == "ycc":
        sampling = choose("sampling", [0x111111, 0x211111, 0x221111, 0x411111, 0x121111])
        coded = opencv(
            ".jpg",
            samples_of(3, np.uint8),
            *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling, cv2.IMWRITE_JPEG_QUALITY, quality),
            *(cv2.IMWRITE_JPEG_PROGRESSIVE, choose("progressive", [0, 1])),
        )
    elif kind == "rgb":
        coded = saved(Image.fromarray(samples_of(3, np.uint8)), "JPEG", quality=quality, keep_rgb=True)
    elif kind == "grey":
        coded = opencv(".jpg", samples_of(1, np.uint8), cv2.IMWRITE_JPEG_QUALITY, quality)
    else:
        coded = imagecodecs.jpeg8_encode(samples_of(4, np.uint8), level=quality, colorspace="CMYK", outcolorspace="CMYK")
    before, tail, lost = _segments(choose)
    return OddFile(f"jpeg {kind}", bytes(coded[:2]) + b"".join(before) + bytes(coded[2:]) + tail, "JPEG", lost)


def _segments(choose: Choose) -> tuple[list[bytes], bytes, tuple[str, ...]]:
    before, tail, lost = [], b"", ()
    kind = choose("exif", ["none", "plain", "thumbnail", "big end"])
    if kind != "none":
        before.append(segment(0xE1, exif_block(kind != "plain", ">" if kind == "big end" else "<")))
        lost += ("EXIF",) if kind != "plain" else ()
    kind = choose("xmp", ["none", "plain", "thumbnail", "gain map"])
    if kind != "none":
        packet, gone = xmp(kind)
        before.append(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet))
        lost += gone
    kind = choose("photoshop", ["none", "plain", "thumbnail"])
    if kind != "none":
        before.append(segment(0xED, b"Photoshop 3.0\0" + resources(kind == "thumbnail")))
        lost += ("thumbnail",) if kind == "thumbnail" else ()
    if choose("own segments", [False, True]):
        before += [segment(0xFE, b"a comment"), segment(0xE5, b"mine\0 and mine alone"), b"\0\0\0"]
        before.append(segment(0xE2, b"ICC_PROFILE\0\x01\x01" + srgb()))
    if choose("manifest", [False, True]):
        before.append(segment(0xEB, b"JP\0\x01\0\0\0\x01" + struct.pack(">I", 40) + b"jumbc2pa" + SECRET))
        lost += ("C2PA",)
    if choose("small one", [False, True]):
        before.append(segment(0xE0, b"JFXX\0\x10" + preview()))
        lost += ("JFXX",)
    if choose("second picture", [False, True]):
        before.append(segment(0xE2, b"MPF\0" + bytes(60)))
        tail = preview()
        lost += ("further pictures",)
    return before, tail, lost


# --- WebP, GIF, BMP and the newer ones


def webp(choose: Choose) -> OddFile:
    """Return a WebP of drawn colours and chunks."""
    samples = samples_of(choose("channels", [3, 4]), np.uint8)
    lossless = choose("lossless", [False, True])
    coded = bytes(imagecodecs.webp_encode(samples, level=80, lossless=lossless))
    inner = [(coded[at : at + 4], content) for at, content in _riff(coded) if coded[at : at + 4] != b"VP8X"]
    flags, more, lost = 0x10 if samples.shape[2] == 4 else 0, [], ()
    kind = choose("exif", ["none", "plain", "thumbnail"])
    if kind != "none":
        more.append((b"EXIF", exif_block(kind == "thumbnail")[6:]))
        flags, lost = flags | 0x08, ("EXIF",) if kind == "thumbnail" else ()
    kind = choose("xmp", ["none", "plain", "thumbnail"])
    if kind != "none":
        packet, gone = xmp(kind)
        more.append((b"XMP ", packet))
        flags, lost = flags | 0x04, lost + gone
    if choose("own chunks", [False, True]):
        more += [(b"mine", b"odd"), (b"C2PA", SECRET)]
        lost += ("C2PA",)
    head = struct.pack("<I", flags) + (WIDTH - 1).to_bytes(3, "little") + (HEIGHT - 1).to_bytes(3, "little")
    parts = [*([(b"VP8X", head)] if flags or more else []), *inner, *more]
    body = b"WEBP" + b"".join(kind + struct.pack("<I", len(c)) + c + b"\0" * (len(c) % 2) for kind, c in parts)
    return OddFile(f"webp of {samples.shape[2]} channels", b"RIFF" + struct.pack("<I", len(body)) + body, "WEBP", lost)


def _riff(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 12
    while at + 8 <= len(data):
        (size,) = struct.unpack_from("<I", data, at + 4)
        found.append((at, data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return found


def gif(choose: Choose) -> OddFile:
    """Return a GIF with drawn transparency, interlacing, comment and XMP."""
    image = Image.fromarray(samples_of(3, np.uint8)).quantize(choose("colours", [3, 16, 200, 256]))
    options: dict[str, Any] = {"interlace": choose("interlace", [0, 1])}
    if choose("transparency", [False, True]):
        options["transparency"] = 1
    if choose("comment", [False, True]):
        options["comment"] = b"a comment"
    coded, lost = saved(image, "GIF", **options), ()
    if choose("xmp", [False, True]):
        head = 13 + (3 << ((coded[10] & 7) + 1))
        magic = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
        coded = b"GIF89a" + coded[6:head] + b"\x21\xff\x0bXMP DataXMP" + xmp("plain")[0] + magic + coded[head:]
    return OddFile("gif", coded, "GIF", lost)


def bmp(choose: Choose) -> OddFile:
    """Return a BMP of drawn depth, header and direction, written by hand."""
    bits = choose("bits", [1, 4, 8, 16, 24, 32])
    down, header = choose("top down", [False, True]), choose("header", [40, 124])
    alpha = bits == 32 and header == 124 and choose("alpha", [False, True])
    values = samples_of(4, np.uint8)
    palette = b""
    if bits <= 8:
        entries = np.random.default_rng(2).integers(0, 256, (2**bits, 4)).astype(np.uint8)
        palette = entries.tobytes()
        numbers = (values[..., 0] >> (8 - bits)).astype(np.uint16)
        spread = (numbers[..., None] >> np.arange(bits - 1, -1, -1)) & 1
        rows = np.packbits(spread.reshape(HEIGHT, -1).astype(np.uint8), axis=1)
    elif bits == 16:
        wide = values.astype(np.uint16) >> 3
        rows = (wide[..., 0] << 10 | wide[..., 1] << 5 | wide[..., 2]).astype("<u2").view(np.uint8)
    else:
        rows = values[..., [2, 1, 0]] if bits == 24 else values[..., [2, 1, 0, 3]]
        rows = np.ascontiguousarray(rows).reshape(HEIGHT, -1)
    rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
    pixels = np.ascontiguousarray(rows if down else rows[::-1]).tobytes()
    colours = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) if alpha else bytes(16)
    profile = b"a colour profile" if header == 124 and choose("profile", [False, True]) else b""
    at = 14 + header + len(palette)
    info = struct.pack(
        "<IiiHHIIiiII", header, WIDTH, -HEIGHT if down else HEIGHT, 1, bits, 3 if alpha else 0, len(pixels), 3779, 3779, 0, 0
    )
    if header == 124:
        where = at + len(pixels) - 14 if profile else 0
        info += colours + (b"DEBM" if profile else b"BGRs") + bytes(48) + struct.pack("<4I", 4, where, len(profile), 0)
    data = b"BM" + struct.pack("<IHHI", at + len(pixels) + len(profile), 0, 0, at) + info + palette + pixels + profile
    return OddFile(f"bmp of {bits} bits{' and alpha' if alpha else ''}", data, "BMP")


def modern(choose: Choose) -> OddFile:
    """Return a JPEG 2000, JPEG XL or AVIF of drawn channels, with or without loss."""
    kind = choose("kind", ["JPEG2000", "JXL", "AVIF"])
    samples = samples_of(choose("channels", [1, 3] if kind == "AVIF" else [1, 3, 4]), np.uint8, seed=choose("seed", [0, 1]))
    lossless = choose("lossless", [True, False])
    if kind == "JPEG2000":
        format = choose("codestream", ["jp2", "j2k"])
        coded = imagecodecs.jpeg2k_encode(samples, level=0 if lossless else 40, reversible=lossless, codecformat=format)
    elif kind == "JXL":
        coded = imagecodecs.jpegxl_encode(samples, **({"lossless": True} if lossless else {"distance": 1.0}))
    else:
        coded = imagecodecs.avif_encode(samples, level=100 if lossless else 70, speed=9)
    return OddFile(f"{kind.lower()} of {samples.shape[-1] if samples.ndim == 3 else 1} channels", bytes(coded), kind)


MAKERS: dict[str, Callable[[Choose], OddFile]] = {
    "tiff": tiff,
    "packed tiff": packed_tiff,
    "png": png,
    "jpeg": jpeg,
    "webp": webp,
    "gif": gif,
    "bmp": bmp,
    "modern": modern,
}


@dataclass
class Chosen:
    """Choices that are given, and otherwise the first of what there is."""

    given: dict[str, Any]

    def __call__(self, name: str, values: list[Any]) -> Any:
        return self.given.get(name, values[0])


@dataclass
class Drawn:
    """Choices made by a random generator, and what they were."""

    rng: np.random.Generator
    made: dict[str, Any] = field(default_factory=dict)

    def __call__(self, name: str, values: list[Any]) -> Any:
        self.made[name] = values[int(self.rng.integers(len(values)))]
        return self.made[name]
