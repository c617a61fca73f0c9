"""The list of what to restore: read and checked, or built from what a corpus is kept in."""

from repaint_batch.manifest.reading import (
    Manifest,
    ManifestFile,
    absolute_uri,
    check_id,
    image_bytes_or_uri,
    open_manifest,
    read_rows,
    result_id,
)

__all__ = [
    "Manifest",
    "ManifestFile",
    "absolute_uri",
    "check_id",
    "image_bytes_or_uri",
    "open_manifest",
    "read_rows",
    "result_id",
]
