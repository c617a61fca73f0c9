"""What is synthetic in a picture, and what made it, as XMP: IPTC's digital source type and regions, and the job's own facts.

Sources: IPTC Photo Metadata Standard 2023.2 (DigitalSourceType, ImageRegion); ISO 16684-1 for how XMP lies in each format.
"""

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from repaint_batch.images import gif, iso_boxes, jpeg, jxl, png, webp, xmp
from repaint_batch.images.box import Box
from repaint_batch.images.tiff_directory import TiffBytes

_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_OWN = "urn:repaint-batch:1.0/"
_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
_MOST_REGIONS = 100
_TIFF_XMP, _BYTE = 700, 1
_PNG_KEYWORD = b"XML:com.adobe.xmp\0"
_JP2_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_GIF_MAGIC = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
_NEW = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


@dataclass(frozen=True)
class Provenance:
    """What made the synthetic part of a picture.

    Attributes:
        prior: fingerprint of the prior.
        sampler: fingerprint of the sampler's settings.
        job: id of the job.
        sample: id of the row.
        seed: of the noise.
    """

    prior: str
    sampler: str
    job: str
    sample: str
    seed: int


def with_provenance(data: bytes, format: str, made_by: Provenance, regions: Sequence[Box]) -> tuple[bytes, list[str]]:
    """Return a file that says what is synthetic in it, and names of what could not be said.

    Args:
        data: a picture.
        format: Pillow's name of its format.
        made_by: what made it.
        regions: boxes of what is synthetic, in pixels of the picture as stored.
    """
    if format not in _WRITERS:
        return data, [f"provenance ({format} of this kind holds no XMP)"]
    read, write = _WRITERS[format]
    try:
        packet = extended(read(data), made_by, regions)
        return (data, ["provenance (the XMP there is not understood)"]) if packet is None else (write(data, packet), [])
    except (ValueError, IndexError, struct.error) as error:
        return data, [f"provenance ({error})"]


def extended(packet: bytes, made_by: Provenance, regions: Sequence[Box]) -> bytes | None:
    """Return an XMP packet, or a new one if it is empty, that says what is synthetic; None: it cannot be added to."""
    packet = packet or _NEW
    opened = re.sub(rb"<rdf:RDF([^<>]*)/>", rb"<rdf:RDF\1></rdf:RDF>", packet, count=1)
    at = opened.rfind(b"</rdf:RDF>")
    if at < 0:
        return None
    # A property stands once: what another tool has said of the whole picture is left to it.
    said = {name for name in ("DigitalSourceType", "ImageRegion") if f":{name}".encode() in packet}
    return opened[:at] + _description(made_by, regions, said).encode() + opened[at:]


def _description(made_by: Provenance, regions: Sequence[Box], said: set[str]) -> str:
    if len(regions) > _MOST_REGIONS:
        edges = list(zip(*regions, strict=True))
        regions = [(min(edges[0]), min(edges[1]), max(edges[2]), max(edges[3]))]
    facts = {"prior": made_by.prior, "sampler": made_by.sampler, "job": made_by.job, "sample": made_by.sample}
    parts = [f"<repaint:{name}>{escape(value)}</repaint:{name}>" for name, value in facts.items()]
    parts.append(f"<repaint:seed>{made_by.seed}</repaint:seed>")
    if "DigitalSourceType" not in said:
        parts.append(f"<Iptc4xmpExt:DigitalSourceType>{_SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>")
    if "ImageRegion" in said:
        corners = ";".join(",".join(map(str, box)) for box in regions)
        parts.append(f"<repaint:regions>{corners}</repaint:regions>")
    else:
        listed = "".join(_region(box) for box in regions)
        parts.append(f"<Iptc4xmpExt:ImageRegion><rdf:Bag>{listed}</rdf:Bag></Iptc4xmpExt:ImageRegion>")
    return f'<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{_IPTC}" xmlns:repaint="{_OWN}">{"".join(parts)}</rdf:Description>'


def _region(box: Box) -> str:
    left, top, right, bottom = box
    edges = f'rbX="{left}" rbY="{top}" rbW="{right - left}" rbH="{bottom - top}"'.replace("rb", "Iptc4xmpExt:rb")
    boundary = f'<Iptc4xmpExt:RegionBoundary Iptc4xmpExt:rbShape="rectangle" Iptc4xmpExt:rbUnit="pixel" {edges}/>'
    name = '<Iptc4xmpExt:Name><rdf:Alt><rdf:li xml:lang="x-default">synthetic</rdf:li></rdf:Alt></Iptc4xmpExt:Name>'
    return f'<rdf:li rdf:parseType="Resource">{boundary}{name}</rdf:li>'


def _jpeg_xmp(data: bytes) -> bytes:
    for marker, start, end in jpeg.segments(data):
        if marker == 0xE1 and data[start + 4 : end].startswith(xmp.HEADER):
            return data[start + 4 + len(xmp.HEADER) : end]
    return b""


def _with_jpeg_xmp(data: bytes, packet: bytes) -> bytes:
    content = xmp.HEADER + packet
    if len(content) > 65533:
        raise ValueError("the XMP there is too long to be added to")
    segment = b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content
    after = 2
    for marker, start, end in jpeg.segments(data):
        if marker == 0xE1 and data[start + 4 : end].startswith(xmp.HEADER):
            return data[:start] + segment + data[end:]
        # Behind JFIF and EXIF, which have to come first.
        if start == after and (marker == 0xE0 or data[start + 4 : start + 8] == b"Exif"):
            after = end
    return data[:after] + segment + data[after:]


def _png_xmp(data: bytes) -> bytes:
    for kind, whole in png.chunks(data):
        if kind == b"iTXt" and whole[8:].startswith(_PNG_KEYWORD):
            content = whole[8 + len(_PNG_KEYWORD) : -4]
            if content[0]:
                raise ValueError("the XMP there is compressed")
            return content[2:].split(b"\0", 2)[2]
    return b""


def _with_png_xmp(data: bytes, packet: bytes) -> bytes:
    chunk = png.chunk(b"iTXt", _PNG_KEYWORD + b"\0\0\0\0" + packet)
    kept = [whole for kind, whole in png.chunks(data) if not (kind == b"iTXt" and whole[8:].startswith(_PNG_KEYWORD))]
    return b"".join([png.SIGNATURE, kept[0], chunk, *kept[1:]])


def _webp_xmp(data: bytes) -> bytes:
    return next((content for kind, content in webp.chunks(data) if kind == b"XMP "), b"")


def _tiff_xmp(data: bytes) -> bytes:
    file = TiffBytes(data)
    entry = file.pages()[0].entries.get(_TIFF_XMP)
    return file.value(entry) if entry is not None else b""


def _with_tiff_xmp(data: bytes, packet: bytes) -> bytes:
    file = TiffBytes(data)
    file.set_value(file.pages()[0], _TIFF_XMP, _BYTE, packet)
    return bytes(file.file)


def _gif_xmp(data: bytes) -> bytes:
    at = data.find(gif.XMP_BLOCK)
    end = data.find(_GIF_MAGIC, at)
    return data[at + len(gif.XMP_BLOCK) : end] if 0 <= at < end else b""


def _with_gif_xmp(data: bytes, packet: bytes) -> bytes:
    at = data.find(gif.XMP_BLOCK)
    if at >= 0:
        end = data.find(_GIF_MAGIC, at) + len(_GIF_MAGIC)
        return data[:at] + gif.XMP_BLOCK + packet + _GIF_MAGIC + data[end:]
    at = gif.head(data)
    return b"GIF89a" + data[6:at] + gif.XMP_BLOCK + packet + _GIF_MAGIC + data[at:]


def _jp2_xmp(data: bytes) -> bytes:
    found = (data[box.content : box.end] for box in iso_boxes.boxes(data) if box.kind == b"uuid")
    return next((content[16:] for content in found if content[:16] == _JP2_XMP), b"")


def _with_jp2_xmp(data: bytes, packet: bytes) -> bytes:
    if data[:4] == b"\xff\x4f\xff\x51":
        raise ValueError("a bare codestream holds no XMP")
    kept = [
        data[box.start : box.end]
        for box in iso_boxes.boxes(data)
        if not (box.kind == b"uuid" and data[box.content : box.content + 16] == _JP2_XMP)
    ]
    return b"".join([*kept, iso_boxes.box(b"uuid", _JP2_XMP + packet)])


def _jxl_xmp(data: bytes) -> bytes:
    return jxl.beside(data).get("xmp", b"")


_WRITERS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes, bytes], bytes]]] = {
    "JPEG": (_jpeg_xmp, _with_jpeg_xmp),
    "PNG": (_png_xmp, _with_png_xmp),
    "WEBP": (_webp_xmp, webp.with_xmp),
    "TIFF": (_tiff_xmp, _with_tiff_xmp),
    "GIF": (_gif_xmp, _with_gif_xmp),
    "JPEG2000": (_jp2_xmp, _with_jp2_xmp),
    "JXL": (_jxl_xmp, jxl.with_xmp),
}
