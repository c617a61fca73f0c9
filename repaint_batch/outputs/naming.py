"""Restored pictures outside the table: what their objects are called, and how their bytes are found again.

``output.images: files`` puts every picture below ``OUTPUT/images/`` at its source's own path, ``webdataset`` those of a shard
into one tar. Every name holds the attempt that wrote it: a second attempt, a driver that comes back, another kind of device or a
later night never writes over what a version of the table refers to.
"""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq

from repaint_batch.errors import SourceMissing, StorageError
from repaint_batch.storage import Storage
from repaint_batch.uris import UriPolicy, join, normalise

SUFFIXES = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf"),
    "JXL": (".jxl",),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif"),
}
_SEGMENT_BYTES = 200
_NAME_BYTES = 700
"""S3 takes keys of 1024, and the output's own prefix comes before."""
_FOLDER = "images"
_MASKS = "masks"


def masks_prefix(output: str) -> str:
    """Return where masks are kept: those that were found by a job, and those that somebody has corrected."""
    return join(normalise(output), _MASKS)


def found_mask_uri(output: str, mask: bytes) -> str:
    """Return where a mask is kept that was found: by its contents, so that a second attempt writes the same."""
    digest = hashlib.sha256(mask).hexdigest()
    return join(masks_prefix(output), digest[:2], f"{digest}.png")


def name_of(text: str, picture_format: str) -> str:
    """Return the relative path at which a picture called `text` is kept, with the suffix of its format.

    Different names stay different. What would lead out of the folder, or cannot be a file's name, is percent-encoded; what
    is too long is cut and given a hash.
    """
    segments = []
    for segment in text.split("/"):
        safe = re.sub(r'[\x00-\x1f\x7f%\\:*?"<>|]', lambda match: f"%{ord(match[0]):02X}", segment)
        if set(safe) <= {"."}:  # "", ".", ".." are no names
            safe = safe.replace(".", "%2E") or "%"
        if len(safe.encode()) > _SEGMENT_BYTES:
            safe = f"{safe.encode()[: _SEGMENT_BYTES - 40].decode(errors='ignore')}~{_digest(segment)}"
        segments.append(safe)
    suffixes = SUFFIXES[picture_format]
    if not text.lower().endswith(suffixes) or not segments[-1].lower().endswith(suffixes):
        segments[-1] += suffixes[0]
    return "/".join(segments)


def file_uri(output: str, row: Mapping[str, Any], base: str) -> str:
    """Return where the picture of a row is put: its source's path below `base`, or its sample_id, with the attempt and the row.

    The attempt makes the name its own: the same work done again, elsewhere, need not come to the same bytes. The row tells
    pictures of one source apart.

    Args:
        output: normalised folder or prefix of the output.
        row: sample_id, image_uri, output_format, attempt and row.
        base: folder or prefix of the manifest.
    """
    text = row["sample_id"]
    if row["image_uri"]:
        uri = normalise(row["image_uri"]) if row["image_uri"].lower().startswith("file:") else row["image_uri"]
        text = re.sub(r"^(s3:/)?/+", "", uri.removeprefix(f"{base}/"))
    name = name_of(text, row["output_format"])
    if len(name.encode()) > _NAME_BYTES:
        name = name_of(_digest(name), row["output_format"])
    stem, dot, suffix = name.rpartition(".")
    return join(output, _FOLDER, f"{stem}~{row['attempt']}-{row['row']}{dot}{suffix}")


def write_tar(output: str, rows: Sequence[dict[str, Any]], pictures: Sequence[bytes], attempt: str, storage: Storage) -> None:
    """Write the pictures of a parcel as one WebDataset tar, and note in `rows` where each one is.

    A sample is ROW.png or the like, and NUMBER.json with its row: an id could hold dots, which end a key there.

    Args:
        output: normalised folder or prefix of the output.
        rows: of one parcel, each with a picture.
        pictures: as encoded.
        attempt: id of this attempt, which makes the tar's name its own.
        storage: how to reach the output.
    """
    if not rows:
        return
    shard = rows[0]["shard"]
    uri = join(output, _FOLDER, f"restored-{shard:06d}-{attempt}.tar")
    data = io.BytesIO()
    with tarfile.TarFile(fileobj=data, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for row, picture in zip(rows, pictures, strict=True):
            key = f"{row['row']:012d}"
            row["output_uri"] = uri
            row["output_offset"] = add_member(tar, f"{key}{SUFFIXES[row['output_format']][0]}", picture)
            add_member(tar, f"{key}.json", facts_of(row))
    storage.write(uri, data.getvalue())


def add_member(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Append a file to a tar, and return where its bytes start."""
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    start = tar.offset
    tar.addfile(entry, io.BytesIO(data))
    return start + tarfile.BLOCKSIZE


def facts_of(row: Mapping[str, Any]) -> bytes:
    """Return a row as JSON, without its picture and what only a job needs."""
    facts = {name: value for name, value in row.items() if name != "output" and not name.startswith("__")}
    return json.dumps(facts, default=str, ensure_ascii=False).encode()


def read_output(row: Mapping[str, Any], output: str, storage: Storage) -> bytes:
    """Return the picture of a row: output, output_uri, output_offset and output_bytes.

    Rows are data: what they name is read if it is this output's own.

    Raises:
        SourceMissing: there is none, or it is gone; UriRefused: it is no object of this output.
        StorageError: the store failed.
    """
    if row["output_uri"] is None:
        return row["output"] or b""
    policy = UriPolicy(join(normalise(output), _FOLDER))
    if row.get("output_offset") is None:
        return policy.read(row["output_uri"], storage)
    uri = policy.resolve(row["output_uri"])
    filesystem, path = storage.arrow(uri)
    try:
        with filesystem.open_input_file(path) as file:
            file.seek(row["output_offset"])
            return bytes(file.read(row["output_bytes"]))
    except FileNotFoundError as error:
        raise SourceMissing(f"{uri}: no such object") from error
    except OSError as error:
        raise StorageError(f"{uri}: read failed: {error}") from error


def named_images(files: Iterable[str], storage: Storage) -> list[str]:
    """Return the URIs of pictures outside the table that rows in its data files name."""
    named: list[str] = []
    for uri in files:
        filesystem, path = storage.arrow(uri)
        column = pq.read_table(path, filesystem=filesystem, columns=["output_uri"], partitioning=None)["output_uri"]
        # Files that a merge has written have text as views, from which pyarrow can drop no nulls.
        named += filter(None, column.to_pylist())
    return named


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
