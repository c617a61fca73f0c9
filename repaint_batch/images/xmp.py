"""XMP packets: pictures in them, and promises of pictures elsewhere in the file, are written over with spaces.

So everything else stays in its place, byte for byte, and offsets that other parts of a file hold stay right.

Source: ISO 16684-1 (XMP), Adobe XMP Specification part 2 (xmp:Thumbnails), Google's Ultra HDR, Motion Photo, Depthmap and
VR Photo formats for what promises a second picture.
"""

import re

HEADER = b"http://ns.adobe.com/xap/1.0/\0"
EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"

_NOTE = b"http://ns.adobe.com/xmp/note/"
_PICTURES = (
    # namespace that tells, and the name under which what it promised is reported
    (b"http://ns.adobe.com/xap/1.0/", (b"Thumbnails",), "thumbnail in XMP"),
    (b"http://ns.adobe.com/hdr-gain-map/1.0/", (), "gain map"),
    (b"http://ns.apple.com/HDRGainMap/1.0/", (), "gain map"),
    (b"http://ns.google.com/photos/1.0/container/", (), "list of further pictures in XMP"),
    (b"http://ns.google.com/photos/1.0/camera/", (), "motion video"),
    (b"http://ns.google.com/photos/1.0/depthmap/", (), "depth map"),
    (b"http://ns.google.com/photos/1.0/image/", (), "stereo picture"),
    (b"http://ns.google.com/photos/1.0/audio/", (), "sound"),
    (b"http://ns.google.com/photos/dd/1.0/device/", (), "depth map"),
    (_NOTE, (b"HasExtendedXMP",), ""),
)
_CAMERA = (b"MotionPhoto", b"MotionPhotoVersion", b"MotionPhotoPresentationTimestampUs", b"MicroVideo", b"MicroVideoVersion",
           b"MicroVideoOffset", b"MicroVideoPresentationTimestampUs")
_NAME = rb"[A-Za-z_][A-Za-z0-9_.-]*"


def promises_pictures(packet: bytes) -> bool:
    """Return whether a packet, or a part of one, names what `without_pictures` takes out."""
    return any(namespace in packet for namespace, properties, _ in _PICTURES if not properties) or b":Thumbnails" in packet


def without_pictures(packet: bytes, *, extension: bool = False) -> tuple[bytes, list[str]]:
    """Return a packet without thumbnails and without promises of further pictures, and the names of what went.

    Args:
        packet: XMP in UTF-8.
        extension: whether its reference to what continues it elsewhere goes too.
    """
    dropped: list[str] = []
    for namespace, properties, name in _PICTURES:
        if namespace == _NOTE and not extension:
            continue
        wanted = _CAMERA if namespace.endswith(b"camera/") else properties
        for prefix in set(re.findall(rb"xmlns:(" + _NAME + rb")\s*=\s*[\"']" + re.escape(namespace) + rb"[\"']", packet)):
            packet, found = _blanked(packet, prefix, wanted)
            if found and name:
                dropped.append(name)
    return packet, list(dict.fromkeys(dropped))


def _blanked(packet: bytes, prefix: bytes, properties: tuple[bytes, ...]) -> tuple[bytes, bool]:
    """Write spaces over the elements and attributes of some properties of a namespace, or of all of them."""
    names = b"|".join(re.escape(name) for name in properties) if properties else _NAME
    start = re.compile(rb"<" + re.escape(prefix) + rb":(" + names + rb")(?=[\s/>])")
    found, at = False, 0
    while match := start.search(packet, at):
        end = _end_of_element(packet, match.start(), prefix + b":" + match[1])
        if end is None:
            break
        packet = packet[: match.start()] + _spaces(packet[match.start() : end]) + packet[end:]
        found, at = True, end
    attribute = re.compile(rb"\s" + re.escape(prefix) + rb":(?:" + names + rb")\s*=\s*(?:\"[^\"]*\"|'[^']*')")
    packet, count = attribute.subn(lambda match: _spaces(match[0]), packet)
    return packet, found or count > 0


def _spaces(text: bytes) -> bytes:
    return b" " * len(text)


def _end_of_element(packet: bytes, start: int, name: bytes) -> int | None:
    """Return where an element ends; elements of the same name inside it are counted."""
    depth = 0
    for match in re.finditer(rb"<(/?)" + re.escape(name) + rb"(?=[\s/>])[^<>]*?(/?)>", packet[start:]):
        if match[1]:
            depth -= 1
        elif not match[2]:
            depth += 1
        if depth == 0:
            return start + match.end()
    return None
