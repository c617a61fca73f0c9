"""JPEG 2000, JPEG XL, AVIF and HEIC written without loss."""

from repaint_batch.images import boxes, exif, xmp
from repaint_batch.images.picture import Picture

_EXIF = b"JpgTiffExif->JP2"
_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_LOSSLESS = 0


def encode_like(picture: Picture) -> tuple[bytes, list[str]]:
    """Return the file that `picture` came from with its pixels, and names of what it no longer holds."""
    return _jpeg2000(picture)


def _jpeg2000(picture: Picture) -> tuple[bytes, list[str]]:
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
    source, parts, dropped = picture.data, [], []
    if source[:4] == b"\xff\x4f\xff\x51":
        return bytes(codestream), []
    written = False
    for box in boxes.boxes(source):
        whole, content = source[box.start : box.end], source[box.content : box.end]
        if box.kind == b"jp2c":
            if written:
                dropped.append("further codestreams")
                continue
            whole, written = boxes.box(b"jp2c", bytes(codestream)), True
        elif (box.kind == b"uuid" and content[:16] == _C2PA) or box.kind == b"jumb":
            dropped.append("C2PA manifest")
            continue
        elif box.kind == b"uuid" and content[:16] == _XMP:
            packet, names = xmp.without_pictures(content[16:])
            whole, dropped = boxes.box(b"uuid", _XMP + packet), dropped + names
        elif box.kind == b"uuid" and content[:16] == _EXIF:
            tags, names = exif.without_thumbnail(content[16:])
            whole, dropped = boxes.box(b"uuid", _EXIF + tags), dropped + names
        parts.append(whole)
    return b"".join(parts), dropped
