"""Files that went wrong somewhere, after public reports: each kind by name, to be printed with what becomes of it."""

import io

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from .corpus import photograph, saved
from .odd_files import HEIGHT, MAKERS, WIDTH, Chosen, OddFile, jpeg, png, samples_of

_TIFFS: dict[str, dict[str, object]] = {
    "16 bits, white is zero": {"colours": "inverted", "type": np.uint16, "compression": "lzw", "predictor": 2},
    "float, white is zero": {"colours": "inverted", "type": np.float32},
    "8 bits, white is zero, tiled": {"colours": "inverted", "tile": (16, 32)},
    "uint32": {"type": np.uint32},
    "uint64": {"type": np.uint64},
    "int8": {"type": np.int8},
    "int16": {"type": np.int16},
    "float16": {"type": np.float16},
    "float32, predicted": {"type": np.float32, "compression": "zstd", "predictor": 3},
    "float64": {"type": np.float64, "compression": "deflate"},
    "RGB of float32": {"colours": "rgb", "type": np.float32},
    "RGB and infrared": {"colours": "rgb", "further channels": ["unspecified"]},
    "RGB of 16 bits and two more": {"colours": "rgb", "type": np.uint16, "further channels": ["unspecified"] * 2},
    "CMYK and a spot colour": {"colours": "cmyk", "further channels": ["unspecified"]},
    "CMYK of 16 bits": {"colours": "cmyk", "type": np.uint16},
    "grey and one more": {"further channels": ["unspecified"]},
    "associated alpha": {"colours": "rgb", "further channels": ["assocalpha"]},
    "associated alpha of 16 bits": {"colours": "rgb", "type": np.uint16, "further channels": ["assocalpha"]},
    "16-bit colour map": {"colours": "palette"},
    "Lab": {"colours": "lab"},
    "BigTIFF with tags of its own": {"big": True, "own tags": True},
    "IPTC of type LONG": {"own tags": True, "order": ">"},
    "Photoshop's layers": {"photoshop": "layers"},
    "Photoshop's thumbnail": {"photoshop": "thumbnail"},
    "thumbnail in XMP": {"xmp": "thumbnail"},
    "smaller copy below": {"preview": "below"},
    "second page is a thumbnail": {"preview": "second page"},
}
_PNGS: dict[str, dict[str, object]] = {
    "16 bits, transparent colour": {"colours": 2, "depth": 16, "transparency": True},
    "grey of 1 bit, transparent": {"colours": 0, "depth": 1, "transparency": True},
    "palette of 4 bits, part transparent": {"colours": 3, "depth": 4, "transparency": True},
    "C2PA, private chunks, time": {"colours": 2, "own chunks": True},
    "text, resolution, profile, EXIF": {"colours": 2, "text": True, "profile": True, "exif": "plain"},
    "ZIP after its end": {"colours": 2, "more": True},
}
_JPEGS: dict[str, dict[str, object]] = {
    "gain map": {"colours": "ycc", "xmp": "gain map", "second picture": True},
    "Photoshop's thumbnail": {"colours": "ycc", "photoshop": "thumbnail"},
    "thumbnail in XMP": {"colours": "ycc", "xmp": "thumbnail"},
    "JFXX": {"colours": "ycc", "small one": True},
    "EXIF with thumbnail, big end first": {"colours": "ycc", "exif": "big end"},
    "C2PA": {"colours": "ycc", "manifest": True},
    "comment, profile, stray bytes": {"colours": "ycc", "own segments": True},
    "4:1:1": {"colours": "ycc", "sampling": 0x411111},
    "4:4:0, progressive": {"colours": "ycc", "sampling": 0x121111, "progressive": 1},
    "CMYK": {"colours": "cmyk"},
    "stored as RGB": {"colours": "rgb"},
}
_OTHERS: dict[str, tuple[str, dict[str, object]]] = {
    "bmp with alpha": ("bmp", {"bits": 32, "header": 124, "alpha": True}),
    "bmp with a profile": ("bmp", {"bits": 24, "header": 124, "profile": True}),
    "bmp of 5 bits a colour, top down": ("bmp", {"bits": 16, "top down": True}),
    "webp with a chunk of its own": ("webp", {"own chunks": True, "exif": "thumbnail", "xmp": "plain"}),
    "gif with comment, XMP, transparency": ("gif", {"comment": True, "xmp": True, "transparency": True, "interlace": 1}),
    "tiff of 12 bits": ("packed tiff", {"bits": 12}),
    "tiff of 1 bit, white is zero, fill order 2": ("packed tiff", {"bits": 1, "inverted": True, "fill order": 2}),
    "tiff of 1 bit with a palette": ("packed tiff", {"bits": 1, "palette": True}),
    "tiff of 4 bits with a palette, big end first": ("packed tiff", {"bits": 4, "palette": True, "order": ">"}),
    "jpeg 2000": ("modern", {"kind": "JPEG2000", "channels": 3}),
    "jpeg xl": ("modern", {"kind": "JXL", "channels": 3}),
    "avif": ("modern", {"kind": "AVIF", "channels": 3, "lossless": False}),
}


_COMPRESSIONS = (
    *((None, 1), ("packbits", 1), ("lzw", 1), ("lzw", 2)),
    *(("deflate", 1), ("deflate", 2), ("zstd", 1), ("zstd", 2)),
)


def all_cases() -> list[OddFile]:
    """Return the named files."""
    odd = []
    for kind, cases in (("tiff", _TIFFS), ("png", _PNGS), ("jpeg", _JPEGS)):
        odd += [_named(f"{kind} {name}", MAKERS[kind](Chosen(given))) for name, given in cases.items()]
    odd += [_named(name, MAKERS[kind](Chosen(given))) for name, (kind, given) in _OTHERS.items()]
    return [*odd, *_planes(), _twelve_in_sixteen(), *_refused()]


def _named(name: str, odd: OddFile) -> OddFile:
    return OddFile(name, odd.data, odd.kind, odd.lost, odd.refused)


def _planes() -> list[OddFile]:
    """Return the 64 layouts of RGB and RGBA of 16 bits in separate planes."""
    found = []
    for channels in (3, 4):
        for compression, predictor in _COMPRESSIONS:
            for order in ("<", ">"):
                for tile in (None, (16, 16)):
                    given = {"colours": "rgb", "type": np.uint16, "planes": "separate", "compression": compression}
                    given |= {"tile": tile, "predictor": predictor, "rows": 16, "order": order}
                    given |= {"further channels": ["unassalpha"]} if channels == 4 else {}
                    name = f"tiff {channels} planes of 16 bits {compression} {predictor} {order} {'tiles' if tile else 'strips'}"
                    found.append(_named(name, MAKERS["tiff"](Chosen(given))))
    return found


def _twelve_in_sixteen() -> OddFile:
    buffer = io.BytesIO()
    samples = samples_of(1, np.uint16, 4095)
    tifffile.imwrite(buffer, samples, photometric="minisblack", metadata=None, extratags=[(281, 3, 1, 4095, True)])
    return OddFile("tiff 12 bits in 16", buffer.getvalue(), "TIFF")


def _refused() -> list[OddFile]:
    grey = samples_of(1, np.uint16, 4095)
    png_of_text = png(Chosen({"colours": 2, "text": True})).data
    broken = png_of_text.replace(b"Comment\0hello", b"Comment\0hullo")
    raw = io.BytesIO()
    tifffile.imwrite(raw, grey, photometric="cfa", metadata=None, extratags=[(50706, 1, 4, (1, 4, 0, 0), True)])
    plain = jpeg(Chosen({"colours": "ycc"})).data
    return [
        OddFile("jpeg of 12 bits", bytes(imagecodecs.jpeg8_encode(grey, level=90, bitspersample=12)), "JPEG", refused="12 bits"),
        OddFile("lossless jpeg", bytes(imagecodecs.ljpeg_encode(grey, bitspersample=12)), "JPEG", refused="lossless JPEG"),
        OddFile("jpeg-ls", bytes(imagecodecs.jpegls_encode(photograph(3))), "JPEG", refused="JPEG-LS"),
        OddFile("png with a wrong checksum", broken, "PNG", refused="checksum of its chunk tEXt is wrong"),
        OddFile("dng", raw.getvalue(), "TIFF", refused="camera's raw file: develop it"),
        OddFile("olympus raw", b"IIRO\x08\0\0\0" + bytes(100), "raw", refused="camera's raw file: develop it"),
        OddFile("canon raw", b"\0\0\0\x18ftypcrx " + bytes(100), "raw", refused="camera's raw file: develop it"),
        OddFile("photoshop", b"8BPS\0\1" + bytes(100), "psd", refused="flatten it"),
        OddFile("jpeg xl of 16 bits", bytes(imagecodecs.jpegxl_encode(photograph(3, np.uint16), lossless=True)), "JXL",
                refused="convert it to a TIFF"),
        OddFile("jpeg 2000 of three times 16 bits", bytes(imagecodecs.jpeg2k_encode(photograph(3, np.uint16))), "JPEG2000",
                refused="no second library reads it"),
        OddFile("animation", saved(Image.new("P", (WIDTH, HEIGHT)), "GIF", save_all=True,
                                   append_images=[Image.fromarray(samples_of(1, np.uint8))]), "GIF", refused="several frames"),
        OddFile("jpeg that ends early", plain[:-100], "JPEG", refused="truncated or damaged"),
        OddFile("half a png", png_of_text[:-200], "PNG", refused="truncated"),
        OddFile("tiff whose strips lie past its end", MAKERS["tiff"](Chosen({})).data[:-300], "TIFF", refused="past its end"),
    ]


