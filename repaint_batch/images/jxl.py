"""JPEG XL by libjxl: 8 bits of grey or colours, read, and written without loss.

Source: ISO 18181-2 (boxes).
"""

from typing import Any

import numpy as np

from repaint_batch.images import exif, iso_boxes, xmp
from repaint_batch.images.formats import LOSSY
from repaint_batch.images.layout import Alpha, Kind, Layout
from repaint_batch.images.picture import Picture
from repaint_batch.images.refusal import Refused

_SIGNATURE = b"\0\0\0\x0cJXL \r\n\x87\n"
_FILE_TYPE = b"\0\0\0\x14ftypjxl \0\0\0\0jxl "
_MODES: dict[str, tuple[Kind, Alpha | None]] = {
    "L": ("grey", None),
    "LA": ("grey", "straight"),
    "RGB": ("rgb", None),
    "RGBA": ("rgb", "straight"),
}
DROPPED = {b"jbrd": "reconstruction of the JPEG it was made from", b"jumb": "C2PA manifest", b"brob": "compressed metadata"}
"""Boxes that do not stand beside changed pixels, and names of what goes with them."""


def pages(data: bytes) -> list[int]:
    """Return [0]: one picture."""
    return [0]


def size(data: bytes, page: int) -> tuple[int, int]:
    """Return width and height as displayed. Raises Refused: they are nowhere."""
    stored_width, stored_height, orientation = _header(codestream(data))
    return (stored_height, stored_width) if orientation >= 5 else (stored_width, stored_height)


def codestream(data: bytes) -> bytes:
    """Return the codestream of a file, put together if it lies in several boxes."""
    if data[:2] == b"\xff\x0a":
        return data
    parts = []
    for box in iso_boxes.boxes(data):
        if box.kind == b"jxlc":
            return data[box.content : box.end]
        if box.kind == b"jxlp":
            parts.append(data[box.content + 4 : box.end])
    return b"".join(parts)


class _Bits:
    """Numbers of some bits each, the lowest bit first."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = int.from_bytes(data[:64], "little"), 0

    def take(self, count: int) -> int:
        value = self._data >> self._at & ((1 << count) - 1)
        self._at += count
        return value

    def chosen(self, *choices: tuple[int, int]) -> int:
        """Return one of four (offset, bits) as two bits say."""
        offset, bits = choices[self.take(2)]
        return offset + self.take(bits)


def _sized(stream: bytes) -> tuple[int, int, _Bits]:
    """Return width and height as stored, and the bits that follow them (ISO 18181-1, C.2). Raises Refused: there are none."""
    if stream[:2] != b"\xff\x0a" or len(stream) < 12:
        raise Refused("truncated or damaged JXL: its header cannot be read")
    bits = _Bits(stream[2:])
    is_small = bits.take(1)

    def side() -> int:
        return 8 * (bits.take(5) + 1) if is_small else 1 + bits.chosen((0, 9), (0, 13), (0, 18), (0, 30))

    height = side()
    ratio = bits.take(3)
    ratios = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
    return side() if not ratio else height * ratios[ratio][0] // ratios[ratio][1], height, bits


def _header(stream: bytes) -> tuple[int, int, int]:
    """Return width and height as stored, and orientation (ISO 18181-1, C.3)."""
    width, height, bits = _sized(stream)
    is_default = bits.take(1)
    has_more = 0 if is_default else bits.take(1)
    return width, height, 1 + bits.take(3) if has_more else 1


def _is_lossy(stream: bytes) -> bool:
    """Return whether colours are stored as XYB, which rounds; a header with rarer fields is taken for one without loss."""
    _, _, bits = _sized(stream)
    if bits.take(1):
        return True  # all as it is by default
    if bits.take(1) or bits.take(1):  # more fields; samples that are floats
        return False
    bits.chosen((8, 0), (10, 0), (12, 0), (1, 6))
    bits.take(1)
    has_further_channels = bits.take(2) > 0
    return not has_further_channels and bits.take(1) == 1


def decoded(data: bytes) -> tuple[Any, np.ndarray]:
    """Return what the witness's library says of a picture, and its samples; of what a JPEG was rebuilt from, pixels too."""
    try:
        from pillow_jxl import Decoder
    except ImportError as error:
        raise Refused("JPEG XL needs pip install 'repaint-batch[formats]'") from error
    is_jpeg, info, pixels, icc, _ = Decoder(num_threads=0)(codestream(data))
    if is_jpeg or info.mode not in _MODES:
        raise Refused(
            f"a JPEG XL of {info.mode} is not restored, since no second library reads it to prove the result; "
            "convert it to a TIFF"
        )
    samples = len(info.mode)
    shape = (info.height, info.width) + ((samples,) if samples > 1 else ())
    return (info, icc), np.frombuffer(pixels, np.uint8).reshape(shape)


def read(data: bytes, page: int, pages: int, as_coded: bool) -> Picture:
    """Return the picture upright, whose size has been looked at. Raises Refused: damaged, or not to be kept."""
    import imagecodecs

    stream = codestream(data)
    try:
        (info, icc), theirs = decoded(data)
        samples = np.array(imagecodecs.jpegxl_decode(stream, numthreads=1))
    except Refused:
        raise
    except Exception as error:  # decoders raise what they like
        raise Refused(f"truncated or damaged JXL ({error})") from error
    kind, alpha = _MODES[info.mode]
    if samples.dtype != np.uint8 or samples.shape != theirs.shape:
        raise Refused(f"a JPEG XL of {samples.dtype} {samples.shape} is not restored; convert it to a TIFF")
    if icc and _colours_of(icc) != _colours_of(_usual_profile(samples)):
        raise Refused("a JPEG XL with a colour profile of its own is not written back; convert it to a TIFF")
    layout = Layout.of_samples(kind, np.dtype(np.uint8), 8, alpha)
    return Picture(samples, layout, "JXL", 1, data)


def _colours_of(icc: bytes) -> bytes:
    """Return a profile without its rendering intent, which says nothing of what samples mean (ICC.1, 7.2.15)."""
    return icc[:64] + bytes(4) + icc[68:]


def _usual_profile(samples: np.ndarray) -> bytes:
    """Return the profile that libjxl calls sRGB, of as many colours."""
    import imagecodecs
    from pillow_jxl import Decoder

    tiny = np.ascontiguousarray(samples[:1, :1])
    return bytes(Decoder(num_threads=0)(bytes(imagecodecs.jpegxl_encode(tiny, lossless=True)))[3])


def beside(data: bytes) -> dict[str, bytes]:
    """Return EXIF that calls the picture upright, as it is read, and XMP."""
    found = {}
    for box in iso_boxes.boxes(data) if data[:2] != b"\xff\x0a" else ():
        content = data[box.content : box.end]
        if box.kind == b"Exif":
            found["exif"] = exif.MARK + exif.upright(content[4:])
        elif box.kind == b"xml ":
            found["xmp"] = content
    return found


def encode_like(picture: Picture) -> tuple[bytes, list[str]]:
    """Return the file that `picture` came from with its pixels, upright and without loss, and names of what went."""
    import imagecodecs

    encoded = imagecodecs.jpegxl_encode(np.ascontiguousarray(picture.whole()), lossless=True, numthreads=1)
    stream = codestream(bytes(encoded))
    source = picture.data
    dropped = [LOSSY] if _is_lossy(codestream(source)) else []
    if source[:2] == b"\xff\x0a":
        return stream, dropped
    parts = [_SIGNATURE, _FILE_TYPE]
    written = False
    for box in iso_boxes.boxes(source):
        content = source[box.content : box.end]
        if box.kind in (b"jxlc", b"jxlp"):
            if not written:
                parts.append(iso_boxes.box(b"jxlc", stream))
            written = True
        elif box.kind in DROPPED:
            dropped.append(DROPPED[box.kind])
        elif box.kind == b"Exif":
            tags, names = exif.without_thumbnail(exif.upright(content[4:]))
            parts.append(iso_boxes.box(b"Exif", content[:4] + tags))
            dropped += names
        elif box.kind == b"xml ":
            packet, names = xmp.without_pictures(content)
            parts.append(iso_boxes.box(b"xml ", packet))
            dropped += names
        elif box.kind not in (b"JXL ", b"ftyp", b"jxll"):
            parts.append(source[box.start : box.end])
    return b"".join(parts), dropped


def with_xmp(data: bytes, packet: bytes) -> bytes:
    """Return a JPEG XL file with an XMP packet in place of its own, if it has one."""
    if data[:2] == b"\xff\x0a":
        parts = [_SIGNATURE, _FILE_TYPE, iso_boxes.box(b"jxlc", data)]
    else:
        parts = [data[box.start : box.end] for box in iso_boxes.boxes(data) if box.kind != b"xml "]
    return b"".join([*parts, iso_boxes.box(b"xml ", packet)])
