"""What can be carried from a file of one format to one of another: EXIF, XMP, colour profile and resolution."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from repaint_batch.images import exif, gif, heif, iso_boxes, jpeg, jxl, png, tiff_directory, webp, xmp
from repaint_batch.images.formats import FORMATS
from repaint_batch.images.picture import Picture

_RESOLUTION = (282, 283, 296)
_NOT_METADATA = frozenset(
    # Sizes, strips, tiles, fill order, fax and JPEG parameters, chroma, and what is carried by itself.
    {
        *(254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 280, 281, 284, 292, 293, 317, 318, 319, 320, 322, 323),
        *(324, 325, 330, 332, 338, 339, 347, *range(512, 522), 529, 530, 531, 532, 700, 34377, 34675, 34665, 34853, 37724),
    }
)
_SEGMENTS = {0xED: "Photoshop's resources (with IPTC)", 0xFE: "comment", 0xEB: "JUMBF boxes"}


@dataclass
class Carried:
    """What stands beside the pixels of a converted file.

    Attributes:
        icc: colour profile.
        exif: with its mark before it.
        xmp: packet.
        dpi: resolution across and down, in pixels an inch.
        dropped: names of what cannot be carried.
    """

    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    dpi: tuple[float, float] | None = None
    dropped: list[str] = field(default_factory=list)

    def options(self) -> dict[str, object]:
        """Return Pillow's options of a writer."""
        found = {"exif": self.exif, "icc_profile": self.icc, "xmp": self.xmp, "dpi": self.dpi}
        return {key: value for key, value in found.items() if value}


def carried(picture: Picture) -> Carried:
    """Return what of `picture` can be carried into another format."""
    found = Carried(icc=picture.icc, dropped=["other pages"] if picture.pages > 1 else [])
    if picture.format == "TIFF":
        _of_tiff(picture, found)
    else:
        info = _info(picture)
        found.exif, names = exif.without_thumbnail(_bytes(info.get("exif", b"")))
        packet, more = xmp.without_pictures(_bytes(info.get("xmp", b"")))
        found.xmp, found.dpi = packet, info.get("dpi")
        found.dropped += [*names, *more, *dict.fromkeys(_left_behind(picture))]
    return found


def _info(picture: Picture) -> dict[Any, Any]:
    """Return what stands beside the pixels, by Pillow's names of it."""
    if picture.format in ("JXL", "JPEG2000"):
        return dict(FORMATS[picture.format].reader().beside(picture.data))
    if picture.format in ("AVIF", "HEIF"):
        info = heif.beside(picture.data)
        info["exif"] = exif.upright(_bytes(info.get("exif")))
        return info
    if isinstance(picture.pixels, Image.Image):
        return dict(picture.pixels.info)
    return dict(Image.open(io.BytesIO(picture.data), formats=[picture.format]).info)


def _of_tiff(picture: Picture, found: Carried) -> None:
    file = tiff_directory.TiffBytes(picture.data)
    page = file.pages()[picture.page]
    tags, plain = Image.Exif(), Image.Exif()
    try:
        plain = Image.open(io.BytesIO(picture.data), formats=["TIFF"]).getexif()
        for tag in plain:
            if tag not in _NOT_METADATA:
                tags[tag] = plain[tag]
        for tag in (tiff_directory.EXIF, tiff_directory.GPS):
            if tag in page.entries:
                tags.get_ifd(tag).update(plain.get_ifd(tag))
    except Exception:  # what Pillow cannot follow is not carried
        found.dropped.append("EXIF")
    found.exif = tags.tobytes() if len(tags) else b""
    if 700 in page.entries:
        found.xmp, names = xmp.without_pictures(file.value(page.entries[700]))
        found.dropped += names
    resolution = [plain.get(tag) for tag in _RESOLUTION]
    if all(resolution[:2]) and resolution[-1] in (2, 3):
        per_inch = 2.54 if resolution[-1] == 3 else 1.0
        found.dpi = (float(resolution[0]) * per_inch, float(resolution[1]) * per_inch)  # type: ignore[arg-type]
    for tag, name in ((34377, "Photoshop's resources"), (33723, "IPTC"), (37724, "Photoshop's layers")):
        if tag in page.entries:
            found.dropped.append(name)


def _left_behind(picture: Picture) -> Iterator[str]:
    """Yield names of what a file holds that has no place in another format."""
    if picture.format == "JPEG":
        for marker, start, end in jpeg.segments(picture.data):
            if marker in _SEGMENTS:
                yield _SEGMENTS[marker]
            elif 0xE0 <= marker <= 0xEF and not jpeg.is_understood(picture.data[start + 4 : end]):
                yield f"segment APP{marker - 0xE0}"
    elif picture.format == "PNG":
        for kind, whole in png.chunks(picture.data):
            if kind[0] & 0x20 and kind not in png.CARRIED and not whole[8:].startswith(b"XML:com.adobe.xmp"):
                yield f"chunk {kind.decode('latin-1')}"
    elif picture.format == "WEBP":
        for kind, _ in webp.chunks(picture.data):
            if kind not in webp.CARRIED:
                yield f"chunk {kind.decode('latin-1').strip()}"
    elif picture.format in ("AVIF", "HEIF"):
        yield from heif.other_items(picture.data)
        yield from heif.colours_of_its_own(picture.data)
    elif picture.format == "JXL":
        yield from (name for kind, name in jxl.DROPPED.items() if any(box.kind == kind for box in iso_boxes.boxes(picture.data)))
    elif picture.format == "GIF" and gif.has_comment(picture.data):
        yield "comment"


def _bytes(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    return bytes(value) if isinstance(value, bytes | bytearray) else b""
