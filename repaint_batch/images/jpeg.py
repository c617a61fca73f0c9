"""JPEG files as lists of segments: a picture is encoded anew, what its owner wrote beside the pixels stays as it is.

Source: ITU-T T.81, annex B.
"""

import io
import math
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, JpegImagePlugin

from repaint_batch.images import exif, photoshop, xmp
from repaint_batch.images.box import Box

_SOI = b"\xff\xd8"
_APP0, _APP1, _APP2, _APP11, _APP13, _APP14, _APP15, _COM, _SOS = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE, 0xEF, 0xFE, 0xDA
_SOF, _DQT, _DHT, _DRI = (0xC0, 0xC1, 0xC2), 0xDB, 0xC4, 0xDD
_ADOBE = b"Adobe"
_MULTI_PICTURE = b"MPF\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
_JFXX = b"JFXX\0"
_BOXES = b"JP"
_EXTENSION_HEAD = len(xmp.EXTENSION) + 40
"""Before the text of a part of extended XMP: its mark, a digest, the length of the whole, and the place of the part."""
_HALVED = 2
"""Pillow's number for 4:2:0."""


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of every segment before the first scan; the start is that of the 0xFF."""
    at = len(_SOI)
    while at + 4 <= len(data):
        marker = data[at + 1]
        # Stray and fill bytes are passed over, as libjpeg does.
        if data[at] != 0xFF or marker in (0x00, 0xFF):
            at += 1
            continue
        if marker == _SOS:
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if end > len(data):
            return
        yield marker, at, end
        at = end


def _is_owners(data: bytes, marker: int, start: int) -> bool:
    """Return whether a segment is metadata of the picture rather than a fact of its encoding.

    Adobe's segment tells how colours are encoded, which the encoder decides.
    """
    if marker == _COM:
        return True
    return _APP0 <= marker <= _APP15 and not _is_adobe(data, marker, start)


def _is_adobe(data: bytes, marker: int, start: int) -> bool:
    return marker == _APP14 and data[start + 4 : start + 9] == _ADOBE


def is_understood(content: bytes) -> bool:
    """Return whether an application's segment is of a kind whose content has a place in other formats."""
    return content.startswith((b"JFIF\0", b"Exif\0\0", xmp.HEADER, b"ICC_PROFILE\0", _ADOBE))


def _kept(marker: int, content: bytes, without_extension: bool) -> tuple[bytes | None, list[str]]:
    """Return what of an owner's segment may stand beside changed pixels, and names of what went; None: nothing.

    What shows the picture as it was, promises further pictures in the file, which are not written, or vouches for the pixels
    that were goes.
    """
    if marker == _APP0 and content.startswith(_JFXX):
        return None, ["thumbnail in JFXX"]
    if marker == _APP1 and content.startswith(exif.MARK):
        return exif.without_thumbnail(content)
    if marker == _APP1 and content.startswith(xmp.HEADER):
        packet, names = xmp.without_pictures(content[len(xmp.HEADER) :], extension=without_extension)
        return xmp.HEADER + packet, names
    if marker == _APP1 and content.startswith(xmp.EXTENSION) and without_extension:
        return None, ["extended XMP (with further pictures)"]
    if marker == _APP2 and content.startswith(_MULTI_PICTURE):
        return None, ["further pictures in the file"]
    if marker == _APP11 and content.startswith(_BOXES):
        return None, ["C2PA manifest" if b"c2pa" in content else "JUMBF boxes"]
    if marker == _APP13 and content.startswith(_PHOTOSHOP):
        resources, names = photoshop.without_thumbnail(content[len(_PHOTOSHOP) :])
        return _PHOTOSHOP + resources, names
    return content, []


def is_luma_chroma(image: Image.Image) -> bool:
    """Return whether a colour JPEG, opened and not yet loaded, stores luma and chroma and not RGB."""
    if image.mode != "RGB":
        return False
    if "jfif" in image.info:
        return True
    if "adobe_transform" in image.info:
        return bool(image.info["adobe_transform"] == 1)
    return bytes(layer[0] for layer in image.layer) != b"RGB"  # type: ignore[attr-defined]


def encode_like(
    image: Image.Image, source: bytes, restored: Sequence[tuple[Box, np.ndarray]] = ()
) -> tuple[bytes, list[str]]:
    """Return `image` as JPEG with the quantisation, subsampling, scan order and metadata of the file it came from.

    Args:
        image: picture opened by Pillow from `source`, best as luma and chroma; its pixels may have been changed since.
        source: the file.
        restored: boxes, and (h, w) bool in each, True where pixels have been changed.

    Returns:
        The file, and names of what it no longer holds.
    """
    sampling = JpegImagePlugin.get_sampling(image)  # type: ignore[no-untyped-call,unused-ignore]
    factors = [layer[1:3] for layer in image.layer]  # type: ignore[attr-defined]
    dropped = []
    if sampling < 0 and len(factors) == 3 and len(set(factors)) > 1:
        encoded = _componentwise(image, factors)
        dropped += ["progressive scans"] if image.info.get("progressive") else []
    else:
        pixels = _with_stored_chroma(image, source, restored) if image.mode == "YCbCr" and sampling == _HALVED else image
        encoded = _encoded(
            pixels,
            qtables=image.quantization,  # type: ignore[attr-defined]
            subsampling=max(sampling, 0),
            progressive=bool(image.info.get("progressive")),
            keep_rgb=image.mode == "RGB" and not is_luma_chroma(image),
        )
        if len(factors) == 4 and len(set(factors)) > 1:
            dropped.append("subsampling of CMYK")
    if any(marker in (0xC9, 0xCA) for marker, _, _ in segments(source)):
        dropped.append("arithmetic coding")
    if len(factors) == 1 and factors[0] != (1, 1):
        # Of one component alone they mean nothing, and are kept all the same.
        encoded = _with_factors(encoded, factors[0])
    data, names = with_metadata_of(source, encoded)
    return data, dropped + names


def _with_factors(encoded: bytes, factors: tuple[int, int]) -> bytes:
    """Return the JPEG of one component with other sampling factors."""
    at = next(start for marker, start, _ in segments(encoded) if marker in _SOF) + 11
    return encoded[:at] + bytes([factors[0] << 4 | factors[1]]) + encoded[at + 1 :]


def _encoded(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=b"", icc_profile=None, **options)
    return buffer.getvalue()


def _componentwise(image: Image.Image, factors: Sequence[tuple[int, int]]) -> bytes:
    """Return a JPEG with sampling factors that Pillow cannot write: every component is encoded as a grey picture of its own.

    A scan of one component alone has exactly the blocks of a grey JPEG of that component's size (T.81, A.2.2), so that the
    scans of these greys, one after the other, are the scans of the whole.
    """
    most = [max(factor[axis] for factor in factors) for axis in (0, 1)]
    tables = image.quantization  # type: ignore[attr-defined]
    quantisers: dict[int, bytes] = {}
    frame, scans = b"", b""
    for number, (band, (across, down)) in enumerate(zip(image.split(), factors, strict=True)):
        table = image.layer[number][3]  # type: ignore[attr-defined]
        size = (-(-image.width * across // most[0]), -(-image.height * down // most[1]))
        # The mean of what decoders made of a sample: of samples they repeat, the sample itself.
        box = (0, 0, size[0] * most[0] / across, size[1] * most[1] / down)
        plane = _padded(band, box).resize(size, Image.Resampling.BOX, box=box)
        grey = _encoded(plane, qtables={0: tables[table]})
        at = {marker: grey[start:end] for marker, start, end in segments(grey) if marker != _DHT}
        tables_of_huffman = b"".join(grey[start:end] for marker, start, end in segments(grey) if marker == _DHT)
        scan = max(end for _, _, end in segments(grey))
        head = grey[scan : scan + 4 + 1] + bytes([number + 1]) + grey[scan + 6 : scan + 10]
        scans += tables_of_huffman + head + grey[scan + 10 : grey.rfind(b"\xff\xd9")]
        quantisers[table] = at[_DQT][:4] + bytes([at[_DQT][4] & 0xF0 | table]) + at[_DQT][5:]
        frame += bytes([number + 1, across << 4 | down, table])
    kind = 0xC1 if any(quantiser[4] >> 4 for quantiser in quantisers.values()) else 0xC0
    body = b"\x08" + image.height.to_bytes(2, "big") + image.width.to_bytes(2, "big") + bytes([len(factors)]) + frame
    head = bytes([0xFF, kind]) + (len(body) + 2).to_bytes(2, "big") + body
    adobe = b"" if image.mode == "YCbCr" else b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + bytes([0])
    return _SOI + adobe + b"".join(quantisers.values()) + head + scans + b"\xff\xd9"


def _padded(band: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    """Return a channel whose last column and row are repeated until `box` lies inside."""
    width, height = math.ceil(box[2]), math.ceil(box[3])
    if (width, height) == band.size:
        return band
    samples = np.asarray(band)
    missing = ((0, max(height - band.height, 0)), (0, max(width - band.width, 0)))
    return Image.fromarray(np.pad(samples, missing, mode="edge"))


def _with_stored_chroma(image: Image.Image, source: bytes, restored: Sequence[tuple[Box, np.ndarray]]) -> Image.Image:
    """Return `image` with the chroma that the file stores, each sample repeated over the 2x2 pixels that share it.

    Decoders smooth chroma as they enlarge it, and an encoder that averages it again stores something else: every block
    would change. At half scale libjpeg hands out luma halved and chroma as it stands in the file. Repeated, it averages
    to itself, and blocks that nothing was restored in are encoded as they were, but for rounding at fine quantisation.
    """
    halved = Image.open(io.BytesIO(source), formats=["JPEG"])
    width, height = halved.size
    halved.draft("YCbCr", (max(width // 2, 1), max(height // 2, 1)))
    if halved.size != (-(-width // 2), -(-height // 2)):
        return image
    stored = (halved.getchannel(band) for band in (1, 2))
    box = (0, 0, width / 2, height / 2)
    chroma = [band.resize(image.size, Image.Resampling.NEAREST, box=box) for band in stored]
    pixels = Image.merge("YCbCr", [image.getchannel(0), *chroma])
    for part, hole in restored:
        pixels.paste(image.crop(part), part, Image.fromarray(hole))
    return pixels


def with_metadata_of(source: bytes, encoded: bytes) -> tuple[bytes, list[str]]:
    """Return the JPEG file `encoded` with the metadata segments of `source` in place of its own, and names of what went."""
    parts, dropped = [_SOI], []
    extensions = b"".join(
        source[start + 4 + _EXTENSION_HEAD : end]
        for marker, start, end in segments(source)
        if marker == _APP1 and source[start + 4 : end].startswith(xmp.EXTENSION)
    )
    without_extension = xmp.promises_pictures(extensions)
    for marker, start, end in segments(source):
        if _is_owners(source, marker, start):
            content = source[start + 4 : end]
            kept, names = _kept(marker, content, without_extension)
            dropped += names
            if kept is not None:
                parts += [source[start : start + 2], (len(kept) + 2).to_bytes(2, "big"), kept]
    if _has_more(source):
        dropped.append("further pictures or bytes after the picture's end")
    at = len(_SOI)
    # Without Adobe's segment ink is stored as it is, with it as its negative: what the source has none of, is not added.
    is_ink = next((encoded[start + 9] == 4 for marker, start, _ in segments(encoded) if marker in _SOF), False)
    has_adobe = any(_is_adobe(source, marker, start) for marker, start, _ in segments(source))
    for marker, start, end in segments(encoded):
        if not _is_owners(encoded, marker, start) and (has_adobe or not is_ink or not _is_adobe(encoded, marker, start)):
            parts.append(encoded[start:end])
        at = end
    return b"".join([*parts, encoded[at:]]), list(dict.fromkeys(dropped))


def _has_more(data: bytes) -> bool:
    """Return whether anything but zeros stands behind the picture's last scan."""
    at = max((end for _, _, end in segments(data)), default=len(_SOI))
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        marker = data[at + 1]
        if marker == 0xD9:
            return bool(data[at + 2 :].strip(b"\0"))
        is_stuffed = marker in (0x00, 0xFF) or 0xD0 <= marker <= 0xD7
        at += (1 if marker == 0xFF else 2) if is_stuffed else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False
