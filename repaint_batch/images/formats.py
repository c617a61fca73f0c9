"""Which library reads a format, which writes it, and which testifies that known pixels are what they were.

The witness is never the library that writes. Where only one codec exists (WebP, JPEG XL, JPEG 2000), it is another build of
it under another binding; what such a pair might do wrong alike is the codec's own arithmetic, which is exact there. Lossy
JPEG XL and HEIC are decoded by no two libraries alike: there the witness reads the result, which is written without loss,
and it is compared with the pixels that were read.

A new format also needs an entry in `encoding`, `outputs.naming.SUFFIXES`, `provenance` and `witness`; one that
`output.format` is to name also in `config.OutputFormat`.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

LOSSY = "lossy compression (now without loss)"
"""Name, in the column `dropped`, of what cannot be done to a picture twice while its known pixels stay what they were."""


@dataclass(frozen=True)
class Format:
    """A format that is read and written.

    Attributes:
        reads: library that decodes it.
        writes: library, or a module of ours, that encodes it.
        testifies: library that decodes source and result once more, to compare them.
        lossless: whether pixels come back from a file of it as they went in.
        module: the room's module that reads it.
    """

    reads: str
    writes: str
    testifies: str
    lossless: bool
    module: str

    def reader(self) -> Any:
        """Return what counts, measures and reads a file's pages: `pages`, `size` and `read`."""
        return import_module(f"repaint_batch.images.{self.module}")


FORMATS = {
    "PNG": Format("Pillow; libpng (16 bits)", "png.py with zlib", "libpng (imagecodecs)", True, "pillow_reading"),
    "JPEG": Format("Pillow", "Pillow", "libjpeg-turbo (imagecodecs)", False, "pillow_reading"),
    "WEBP": Format("Pillow", "Pillow", "libwebp (imagecodecs)", True, "pillow_reading"),
    "TIFF": Format("tifffile", "tiff.py with imagecodecs", "libtiff (imagecodecs)", True, "tiff_reading"),
    "BMP": Format("Pillow", "bmp.py", "imagecodecs; Pillow for what that does not read", True, "pillow_reading"),
    "GIF": Format("Pillow", "Pillow", "giflib (imagecodecs)", True, "pillow_reading"),
    "JPEG2000": Format("OpenJPEG (imagecodecs)", "OpenJPEG (imagecodecs)", "OpenJPEG (Pillow)", True, "jpeg2000"),
    "JXL": Format("libjxl (imagecodecs)", "libjxl (imagecodecs)", "libjxl (pillow-jxl-plugin)", True, "jxl"),
    "AVIF": Format("libavif with dav1d (Pillow)", "libavif with aom (imagecodecs)", "Pillow", True, "heif"),
    "HEIF": Format("libheif (pillow-heif)", "libheif, x265 (pillow-heif)", "FFmpeg (PyAV)", True, "heif"),
}
"""By Pillow's name of the format."""
