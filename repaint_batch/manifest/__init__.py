"""The list of what to restore: read and checked, or built from what a corpus is kept in."""

from repaint_batch.manifest.reading import (
    MAX_ID_BYTES,
    Manifest,
    ManifestFile,
    absolute_uri,
    image_bytes_or_uri,
    open_manifest,
    read_rows,
)

__all__ = ["MAX_ID_BYTES", "Manifest", "ManifestFile", "absolute_uri", "image_bytes_or_uri", "open_manifest", "read_rows"]
