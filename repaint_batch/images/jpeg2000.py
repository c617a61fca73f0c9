"""JPEG 2000 by OpenJPEG: read at any depth, written without loss into the boxes of the file it came from.

Source: ISO 15444-1, annexes A (codestream) and I (boxes).
"""

import struct

import numpy as np

from repaint_batch.images import exif, iso_boxes, xmp
from repaint_batch.images.formats import LOSSY
from repaint_batch.images.layout import Alpha, Kind, Layout
from repaint_batch.images.picture import Picture
from repaint_batch.images.refusal import Refused

_OPACITY, _PREMULTIPLIED = 1, 2
_EXIF = b"JpgTiffExif->JP2"
_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_LOSSLESS = 0


def pages(data: bytes) -> list[int]:
    """Return [0]: one picture."""
    return [0]


def size(data: bytes, page: int) -> tuple[int, int]:
    """Return width and height. Raises Refused: they are nowhere."""
    return _siz(iso_boxes.codestream(data))[:2]


def _siz(codestream: bytes) -> tuple[int, int, list[tuple[int, int, int]]]:
    """Return width, height, and (bits with their sign, subsampling across, and down) of every component."""
    try:
        if codestream[:4] != b"\xff\x4f\xff\x51":
            raise Refused("truncated or damaged JPEG2000: its header cannot be read")
        right, bottom, left, top = struct.unpack_from(">4I", codestream, 8)
        (count,) = struct.unpack_from(">H", codestream, 40)
        components = [struct.unpack_from(">3B", codestream, 42 + 3 * number) for number in range(count)]
    except struct.error as error:
        raise Refused("truncated or damaged JPEG2000: its header cannot be read") from error
    if right <= left or bottom <= top:
        raise Refused("truncated or damaged JPEG2000: it holds no pixel")
    return right - left, bottom - top, components


def read(data: bytes, page: int, pages: int, as_coded: bool) -> Picture:
    """Return the picture, whose size has been looked at. Raises Refused: damaged, or of a kind that cannot be kept."""
    import imagecodecs

    width, height, components = _siz(iso_boxes.codestream(data))
    header = iso_boxes.inside(data, b"jp2h")
    bits = components[0][0]
    if any(component != (bits, 1, 1) for component in components) or bits & 0x80 or len(components) > 16:
        raise Refused("a JPEG2000 of subsampled, signed or unlike components is not restored; convert it to a TIFF")
    depth = bits + 1
    if depth > 16 or b"pclr" in header:
        raise Refused("a JPEG2000 with a palette or more than 16 bits is not restored; convert it to a TIFF")
    if depth > 8 and len(components) > 1:
        raise Refused(
            f"a JPEG2000 of {len(components)} components of {depth} bits is not restored, since no second library reads it "
            "to prove the result; convert it to a TIFF"
        )
    kind, alpha, extras = _meaning(header, len(components))
    try:
        samples = imagecodecs.jpeg2k_decode(data, numthreads=1)
    except Exception as error:
        raise Refused(f"truncated or damaged JPEG2000 ({error})") from error
    shape = (height, width) + ((len(components),) if len(components) > 1 else ())
    if samples.shape != shape:
        raise Refused(f"truncated or damaged JPEG2000: {samples.shape} samples where its header says {shape}")
    layout = Layout.of_samples(kind, samples.dtype, depth, alpha, extras)
    return Picture(np.array(samples), layout, "JPEG2000", 1, data, icc=_profile(header))


def _meaning(header: dict[bytes, list[bytes]], count: int) -> tuple[Kind, Alpha | None, int]:
    found = next((content for content in header.get(b"colr", []) if len(content) >= 7 and content[0] == 1), None)
    kinds: dict[int, Kind] = {16: "rgb", 17: "grey", 12: "cmyk"}
    if found is not None:
        number = int.from_bytes(found[3:7], "big")
        if number not in kinds:
            raise Refused(f"a JPEG2000 of colour space {number} is not restored; convert it to grey, RGB or CMYK")
        kind = kinds[number]
    else:
        kind = "grey" if count < 3 else "rgb"
    colours = Layout(kind, np.dtype(np.uint8)).colours
    if count < colours:
        raise Refused(f"a JPEG2000 of {count} components, too few for its colours")
    alpha: Alpha | None = None
    for content in header.get(b"cdef", []):
        for at in range(2, len(content) - 5, 6):
            channel, meaning, _ = struct.unpack_from(">3H", content, at)
            if channel == colours and meaning in (_OPACITY, _PREMULTIPLIED):
                alpha = "straight" if meaning == _OPACITY else "associated"
    return kind, alpha, count - colours - (alpha is not None)


def _profile(header: dict[bytes, list[bytes]]) -> bytes:
    return next((content[3:] for content in header.get(b"colr", []) if content[:1] in (b"\2", b"\3")), b"")


def _is_lossy(codestream: bytes) -> bool:
    """Return whether the wavelet is the one that rounds (ISO 15444-1, A.6.1: the last byte of COD's fixed part)."""
    at = codestream.find(b"\xff\x52")
    return 0 <= at < len(codestream) - 13 and codestream[at + 13] == 0


def beside(data: bytes) -> dict[str, bytes]:
    """Return EXIF and XMP."""
    found = {}
    for box in iso_boxes.boxes(data):
        content = data[box.content : box.end]
        if box.kind == b"uuid" and content[:16] == _EXIF:
            found["exif"] = exif.MARK + content[16:]
        elif box.kind == b"uuid" and content[:16] == _XMP:
            found["xmp"] = content[16:]
    return found


def encode_like(picture: Picture) -> tuple[bytes, list[str]]:
    """Return the file that `picture` came from with its pixels, and names of what it no longer holds."""
    import imagecodecs

    codestream = imagecodecs.jpeg2k_encode(
        picture.whole(),
        level=_LOSSLESS,
        reversible=True,
        codecformat="j2k",
        bitspersample=picture.depth,
        planar=False,
        numthreads=1,
    )
    source, parts = picture.data, []
    dropped = [LOSSY] if _is_lossy(iso_boxes.codestream(source)) else []
    if source[:4] == b"\xff\x4f\xff\x51":
        return bytes(codestream), dropped
    written = False
    for box in iso_boxes.boxes(source):
        whole, content = source[box.start : box.end], source[box.content : box.end]
        if box.kind == b"jp2c":
            if written:
                dropped.append("further codestreams")
                continue
            whole, written = iso_boxes.box(b"jp2c", bytes(codestream)), True
        elif (box.kind == b"uuid" and content[:16] == _C2PA) or box.kind == b"jumb":
            dropped.append("C2PA manifest")
            continue
        elif box.kind == b"uuid" and content[:16] == _XMP:
            packet, names = xmp.without_pictures(content[16:])
            whole, dropped = iso_boxes.box(b"uuid", _XMP + packet), dropped + names
        elif box.kind == b"uuid" and content[:16] == _EXIF:
            tags, names = exif.without_thumbnail(content[16:])
            whole, dropped = iso_boxes.box(b"uuid", _EXIF + tags), dropped + names
        parts.append(whole)
    return b"".join(parts), dropped
