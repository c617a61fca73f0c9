"""AVIF by Pillow and imagecodecs, HEIC by pillow-heif: 8 bits of colours, read upright, and written without loss.

A file holds its picture as an item beside others (EXIF, XMP, thumbnails, depth, gain maps). It is written anew with the
picture, EXIF, XMP and colour profile; what else it held is named.

Source: ISO 23008-12 (HEIF), 14496-12 (boxes); AV1 Image File Format.
"""

import io
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from repaint_batch.images import exif, iso_boxes, xmp
from repaint_batch.images.formats import LOSSY
from repaint_batch.images.layout import Layout
from repaint_batch.images.picture import Picture
from repaint_batch.images.refusal import Refused
from repaint_batch.images.sniffing import format_of

_FULL = 8
_UNSPECIFIED, _IDENTITY, _ALL_CHROMA = 2, 0, 3
_USUAL = {(_UNSPECIFIED, _UNSPECIFIED), (1, _UNSPECIFIED), (1, 13), (1, 1)}
"""Primaries and transfer functions that viewers take for sRGB."""


def pages(data: bytes) -> list[int]:
    """Return the numbers of a file's pictures. Raises Refused: its header cannot be read."""
    opened = _opened(data)
    return list(range(len(opened) if format_of(data) == "HEIF" else getattr(opened, "n_frames", 1)))


def size(data: bytes, page: int) -> tuple[int, int]:
    """Return width and height. Raises Refused: its header cannot be read."""
    width, height = _opened(data).size
    return int(width), int(height)


def _opened(data: bytes) -> Any:
    name = format_of(data)
    try:
        if name == "AVIF":
            return Image.open(io.BytesIO(data), formats=["AVIF"])
        import pillow_heif
    except ImportError as error:
        raise Refused("HEIC needs pip install 'repaint-batch[formats]'") from error
    except Exception as error:  # Pillow's plugins raise whatever broken headers provoke
        raise Refused(f"truncated or damaged {name}: its header cannot be read ({error})") from error
    try:
        return pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    except Exception as error:  # likewise
        raise Refused(f"truncated or damaged {name}: its header cannot be read ({error})") from error


def read(data: bytes, page: int, pages: int, as_coded: bool) -> Picture:
    """Return the first picture upright, whose size has been looked at. Raises Refused: damaged, or not to be kept."""
    name, opened = str(format_of(data)), _opened(data)
    depth = _depth(data) if name == "AVIF" else int(opened.info.get("bit_depth", 8))
    if depth != _FULL:
        raise Refused(
            f"{name} of {depth} bits a sample is not restored, since no second library reads it to prove the result; "
            "convert it to a 16-bit TIFF"
        )
    try:
        if name == "AVIF":
            image: Image.Image = ImageOps.exif_transpose(opened)
        else:
            # Not Image.frombuffer of the opened file: its rows are padded.
            image = Image.fromarray(np.asarray(opened))
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # decoders raise what they like
        raise Refused(f"truncated or damaged {name} ({error})") from error
    if image.mode not in (("L", "RGB", "RGBA") if name == "AVIF" else ("RGB",)):
        raise Refused(f"{name} of {image.mode} is not restored, since nothing keeps it exactly; convert it to a PNG or TIFF")
    bare = Image.Image()._new(image.im)
    icc = opened.info.get("icc_profile") or b""
    return Picture(bare, Layout.of_mode(image.mode, _FULL), name, 1, data, icc=icc, pages=pages)


def _depth(data: bytes) -> int:
    """Return the most bits that a sample of any item has (its pixi box)."""
    at = data.find(b"pixi")
    found: list[int] = []
    while at >= 0:
        count = data[at + 8] if at + 8 < len(data) else 0
        found += data[at + 9 : at + 9 + min(count, 4)]
        at = data.find(b"pixi", at + 4)
    return max(found, default=_FULL)


def colours_of_its_own(data: bytes) -> list[str]:
    """Return the name of a description of colours that another format has no place for; none where they are the usual."""
    described = _described(data)
    if described is None or described[:2] in _USUAL:
        return []
    return [f"description of colours (CICP {described[0]}/{described[1]})"]


def beside(data: bytes) -> dict[str, Any]:
    """Return what stands beside the picture, by Pillow's names of it."""
    return dict(_opened(data).info)


def encode_like(picture: Picture) -> tuple[bytes, list[str]]:
    """Return a file of the source's format with its pixels and metadata, upright and without loss, and names of what went."""
    info = beside(picture.data)
    dropped = other_items(picture.data)
    described = _described(picture.data)
    if _is_lossy(picture.data, described):
        dropped.append(LOSSY)
    tags, names = exif.without_thumbnail(exif.upright(_bytes(info.get("exif"))))
    packet, more = xmp.without_pictures(_bytes(info.get("xmp")))
    dropped += [*names, *more]
    colours = None if described is None or described[:2] == (_UNSPECIFIED, _UNSPECIFIED) else described[:2]
    if picture.format == "HEIF":
        return _heic(picture, tags, packet, colours), dropped
    import imagecodecs

    samples = np.ascontiguousarray(picture.whole())
    primaries, transfer = colours or (None, None)
    encoded = bytes(
        imagecodecs.avif_encode(samples, level=100, speed=6, primaries=primaries, transfer=transfer, numthreads=1)
    )
    return with_items(encoded, tags, packet, picture.icc), dropped


def _heic(picture: Picture, tags: bytes, packet: bytes, colours: tuple[int, int] | None) -> bytes:
    import pillow_heif

    samples = picture.whole()
    file = pillow_heif.from_bytes(mode="RGB", size=picture.size, data=np.ascontiguousarray(samples).tobytes())
    options: dict[str, object] = {"exif": tags or None, "xmp": packet or None}
    if picture.icc:
        options["icc_profile"] = picture.icc
    if colours is not None:
        options["color_primaries"], options["transfer_characteristics"] = colours
    buffer = io.BytesIO()
    file.save(buffer, quality=-1, chroma=444, matrix_coefficients=0, **options)
    return buffer.getvalue()


def _described(data: bytes) -> tuple[int, int, int] | None:
    """Return what a file says of its primaries, transfer function and matrix, by their numbers (ITU-T H.273)."""
    for content in _properties(data, b"colr"):
        if content[:4] == b"nclx" and len(content) >= 10:
            primaries, transfer, matrix = struct.unpack_from(">HHH", content, 4)
            return primaries, transfer, matrix
    return None


def _is_lossy(data: bytes, described: tuple[int, int, int] | None) -> bool:
    """Return whether a file's colours were rounded: they are not where they are stored as they are, or at least all of them."""
    if described is not None:
        return described[2] != _IDENTITY
    # HEVCDecoderConfigurationRecord (ISO 14496-15, 8.3.3.1): two bits of chroma format.
    return not any(len(content) > 16 and content[16] & 3 == _ALL_CHROMA for content in _properties(data, b"hvcC"))


def _properties(data: bytes, kind: bytes) -> Iterator[bytes]:
    """Yield the contents of the properties of a kind, whatever item they belong to."""
    at = [box for box in iso_boxes.boxes(data) if box.kind == b"meta"][:1]
    for outer, skipped in ((b"iprp", 4), (b"ipco", 0)):
        at = [box for one in at for box in iso_boxes.boxes(data, one.content + skipped, one.end) if box.kind == outer]
    for one in at:
        yield from (data[box.content : box.end] for box in iso_boxes.boxes(data, one.content, one.end) if box.kind == kind)


def proof_of_heic(data: bytes) -> np.ndarray:
    """Return the (H, W, 3) samples of a HEIC of this module's making, as FFmpeg decodes them."""
    import av

    opened = _opened(data)
    width, height = opened.size
    with av.open(io.BytesIO(data)) as container:
        frame = next(container.decode(video=0))
    return np.asarray(frame.to_ndarray(format="rgb24"))[:height, :width]


def _bytes(value: object) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value) if isinstance(value, bytes | bytearray) else b""


def other_items(data: bytes) -> list[str]:
    """Return names of items that are neither the picture, its opacity or its metadata."""
    meta = next((box for box in iso_boxes.boxes(data) if box.kind == b"meta"), None)
    dropped = ["C2PA manifest"] if b"c2pa" in data[:65536] or b"jumb" in data[:65536] else []
    if meta is None:
        return dropped
    inner = data[meta.content : meta.end]
    for mark, name in (
        (b"thmb", "thumbnail"),
        (b"urn:com:apple:photo:2020:aux:hdrgainmap", "gain map"),
        (b"tmap", "gain map"),
        (b"depth", "depth map"),
        (b"urn:mpeg:hevc:2015:auxid:2", "depth map"),
        (b"portraiteffectsmatte", "matte"),
        (b"ster", "stereo picture"),
    ):
        if mark in inner:
            dropped.append(name)
    return dropped


def with_items(data: bytes, tags: bytes, packet: bytes, icc: bytes) -> bytes:
    """Return an AVIF of libavif's making with EXIF, XMP and a colour profile added to its items.

    Raises:
        ValueError: its boxes are others than those that libavif writes.
    """
    added: list[tuple[bytes, bytes]] = []
    if tags:
        # Before the TIFF header stands how far it lies from there.
        added.append((b"Exif\0", struct.pack(">I", 0) + tags.removeprefix(exif.MARK)))
    if packet:
        added.append((b"mime\0application/rdf+xml\0", packet))
    if not added and not icc:
        return data
    top = {box.kind: box for box in iso_boxes.boxes(data)}
    meta = top[b"meta"]
    inner = {box.kind: box for box in iso_boxes.boxes(data, meta.content + 4, meta.end)}

    def content(kind: bytes) -> bytes:
        return data[inner[kind].content : inner[kind].end]

    first = 1 + struct.unpack_from(">H", content(b"iinf"), 4)[0]
    parts = {kind: content(kind) for kind in inner}
    parts[b"iinf"] = _with_infos(parts[b"iinf"], added, first)
    parts[b"iref"] = parts.get(b"iref", bytes(4)) + b"".join(
        iso_boxes.box(b"cdsc", struct.pack(">HHH", first + number, 1, 1)) for number in range(len(added))
    )
    parts[b"iprp"] = _with_profile(parts[b"iprp"], icc) if icc else parts[b"iprp"]

    def assembled(locations: bytes) -> bytes:
        written = {**parts, b"iloc": locations}
        inner = b"".join(iso_boxes.box(kind, content) for kind, content in written.items())
        return iso_boxes.box(b"meta", data[meta.content : meta.content + 4] + inner)

    blank = _with_places(parts[b"iloc"], added, first, 0, 0)
    grown = len(assembled(blank)) - (meta.end - meta.start)
    places = _with_places(parts[b"iloc"], added, first, grown, len(data) + grown + 8)
    tail = iso_boxes.box(b"mdat", b"".join(value for _, value in added)) if added else b""
    return data[: meta.start] + assembled(places) + data[meta.end :] + tail


def _with_infos(iinf: bytes, added: list[tuple[bytes, bytes]], first: int) -> bytes:
    (count,) = struct.unpack_from(">H", iinf, 4)
    entries = b""
    for number, (kind, _) in enumerate(added):
        name, _, rest = kind.partition(b"\0")
        entries += iso_boxes.box(b"infe", b"\2\0\0\1" + struct.pack(">HH", first + number, 0) + name + b"\0" + rest)
    return iinf[:4] + struct.pack(">H", count + len(added)) + iinf[6:] + entries


def _with_profile(iprp: bytes, icc: bytes) -> bytes:
    inner = {box.kind: iprp[box.content : box.end] for box in iso_boxes.boxes(iprp)}
    container, links = inner[b"ipco"], inner[b"ipma"]
    number = sum(1 for _ in iso_boxes.boxes(container)) + 1
    if links[:4] != bytes(4) or number > 127:
        raise ValueError("properties are linked in another way than libavif does")
    # The first entry is the picture's: item, how many links, links of one byte each.
    count = links[10]
    links = links[:10] + bytes([count + 1]) + links[11 : 11 + count] + bytes([number]) + links[11 + count :]
    return iso_boxes.box(b"ipco", container + iso_boxes.box(b"colr", b"prof" + icc)) + iso_boxes.box(b"ipma", links)


def _with_places(iloc: bytes, added: list[tuple[bytes, bytes]], first: int, shift: int, start: int) -> bytes:
    """Return where items lie: those there are `shift` bytes further on, the added ones from `start`."""
    if iloc[:6] != b"\0\0\0\0\x44\0":
        raise ValueError("items are placed in another way than libavif does")
    (count,) = struct.unpack_from(">H", iloc, 6)
    entries = b""
    for number in range(count):
        item, reference, extents, at, length = struct.unpack_from(">HHHII", iloc, 8 + 14 * number)
        if extents != 1:
            raise ValueError("an item lies in several places")
        entries += struct.pack(">HHHII", item, reference, extents, at + shift, length)
    for number, (_, value) in enumerate(added):
        entries += struct.pack(">HHHII", first + number, 0, 1, start, len(value))
        start += len(value)
    return iloc[:6] + struct.pack(">H", count + len(added)) + entries
