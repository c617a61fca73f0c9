"""Photoshop's image resources: a list of blocks, two of which are thumbnails.

Source: Adobe Photoshop File Formats Specification (2019), "Image Resources Section".
"""

import struct

SIGNATURES = (b"8BIM", b"8B64", b"MeSa", b"AgHg", b"PHUT", b"DCSR")
_THUMBNAILS = (0x0409, 0x040C)


def without_thumbnail(resources: bytes) -> tuple[bytes, list[str]]:
    """Return image resources without thumbnails, and names of what was taken out; all other blocks stay byte for byte."""
    parts, dropped, at = [], [], 0
    while at + 12 <= len(resources) and resources[at : at + 4] in SIGNATURES:
        (kind,) = struct.unpack_from(">H", resources, at + 4)
        name = resources[at + 6] + 1
        content = at + 6 + name + name % 2
        if content + 4 > len(resources):
            break
        (size,) = struct.unpack_from(">I", resources, content)
        end = min(content + 4 + size + size % 2, len(resources))
        if kind in _THUMBNAILS:
            dropped = ["Photoshop's thumbnail"]
        else:
            parts.append(resources[at:end])
        at = end
    return b"".join([*parts, resources[at:]]), dropped
