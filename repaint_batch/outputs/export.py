"""Restored pictures out of the table: as a plain folder, as Parquet like Hugging Face's, as WebDataset shards.

Rows go by a few at a time, from one version of the table, file by file; only those with a picture (ok and skipped). Every
picture's hash is checked on its way. Nothing in an id can lead out of the target: see `name_of`.
"""

import hashlib
import json
import re
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from repaint_batch.apart import Apart
from repaint_batch.errors import ConfigError, NothingToResume, StorageError
from repaint_batch.images.regions import region
from repaint_batch.jobs.plan import load_plans
from repaint_batch.outputs.corrected import images_for
from repaint_batch.outputs.naming import SUFFIXES, add_member, facts_of, name_of, read_output
from repaint_batch.outputs.reviews import PictureKey, Reviews
from repaint_batch.outputs.sources import Sources
from repaint_batch.schema import IMAGE_STRUCT, RESULTS
from repaint_batch.storage import Storage
from repaint_batch.table.reading import data_files
from repaint_batch.table.results import ResultsTable
from repaint_batch.uris import join, normalise

ExportFormat = Literal["folder", "parquet", "webdataset"]
Names = Literal["id", "source"]

_SHARD_BYTES = 256 * 2**20
_BATCH_ROWS = 16
_ROUNDING = 1e-12  # of one share of pixels, computed in two ways
_KEPT = ("sample_id", "status", "image_uri", "width_px", "height_px", "hole_fraction", "windows", "seed")
_VALUES = {pa.string(): "string", pa.float64(): "float64", pa.bool_(): "bool", pa.int64(): "int64", pa.int32(): "int32"}


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        pictures: how many.
        bytes: of the pictures alone.
        left_out: failed rows, which have no picture.
        not_accepted: pictures that a review has not accepted, where only accepted ones are exported.
        objects: files that were written.
    """

    pictures: int
    bytes: int
    left_out: int
    not_accepted: int
    objects: int


@dataclass(frozen=True)
class _Mask:
    """What was restored in a picture, see `repaint_batch.images.regions`: a file, and its suffix."""

    data: bytes
    suffix: str


class _Target(Protocol):
    objects: int

    def add(self, row: dict[str, Any], data: bytes, mask: _Mask | None) -> None:
        """Take one row, its picture, and what was restored in it."""

    def close(self) -> None:
        """Write what is left."""


def export(
    output: str,
    target: str,
    storage: Storage,
    *,
    format: ExportFormat = "folder",
    names: Names = "id",
    accepted: bool = False,
    masks: bool = False,
) -> Exported:
    """Write the restored pictures of an output to an empty folder or prefix.

    Args:
        output: folder or prefix of the output.
        target: where to.
        storage: how to reach both.
        format: ``folder``: one file a picture; ``parquet``: a data set with an image column; ``webdataset``: tar shards.
        names: what files of ``folder`` are called by: the sample's id, or its picture's own key.
        accepted: only pictures that a review has accepted, and that are still the ones it looked at.
        masks: put a mask beside every picture, white where it was restored: a file of its name and ``.mask.png`` (of several
            pages ``.mask.tif``), a column ``mask``, or a member of the sample.

    Raises:
        NothingToResume: there is no results table, or nothing is accepted.
        ConfigError: something is at the target already.
        StorageError: a picture, or a mask, is not what the table says.
    """
    table, target = ResultsTable(output, storage), normalise(target)
    if not table.exists():
        raise NothingToResume(f"{output}: there are no results; check the output")
    if next(storage.walk(target), None) is not None:
        raise ConfigError(f"{target} is not empty; choose another --to, so that old and new pictures do not mix")
    chosen = _accepted(output, storage) if accepted else None
    delta = table.open()
    schema = pa.schema(delta.schema().to_arrow())
    makers: dict[str, Callable[[], _Target]] = {
        "folder": lambda: _Folder(target, storage, names),
        "parquet": lambda: _Parquet(target, storage, schema, masks),
        "webdataset": lambda: _WebDataset(target, storage),
    }
    written, counts = makers[format](), Counter[str]()
    with Apart() as apart:
        regions = _Regions(output, storage, apart) if masks else None
        for row in _wanted(sorted(data_files(delta, table.uri)), storage, chosen, counts):
            data = _picture(row, output, storage)
            written.add(row, data, regions.of(row, data) if regions else None)
            counts.update(pictures=1, size=len(data))
    written.close()
    return Exported(counts["pictures"], counts["size"], counts["failed"], counts["not_accepted"], written.objects)


def _wanted(
    uris: Iterable[str], storage: Storage, chosen: set[PictureKey] | None, counts: Counter[str]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of data files whose pictures are exported; count those that are left out, by why."""
    for row in (row for uri in uris for row in _rows(uri, storage)):
        if row["status"] == "failed":
            counts["failed"] += 1
        elif chosen is not None and (row["sample_id"], row["output_sha256"]) not in chosen:
            counts["not_accepted"] += 1
        else:
            yield row


class _Regions:
    """What was restored in a row's picture, drawn from the mask that it was restored by."""

    def __init__(self, output: str, storage: Storage, apart: Apart) -> None:
        plans = load_plans(output, storage)
        self._apart, self._sources = apart, Sources(output, storage, plans)
        self._output, self._images = output, {plan.job_id: plan.job_config.images for plan in plans}

    def of(self, row: dict[str, Any], data: bytes) -> _Mask:
        """Return the mask of a row whose picture is `data`."""
        given = self._sources.given(row, "mask")
        where = f"{row['sample_id']}: its mask {row['mask_uri'] or 'in the manifest'}"
        if given is None:
            raise StorageError(f"{where} is gone or cannot be read; put it back, or export without --masks")
        images = images_for(self._images[row["job_id"]], self._output, row["mask_uri"])
        drawn, said = self._apart(region, data, given, images)
        facts = json.loads(said or b"{}")
        if abs(facts["hole_fraction"] - row["hole_fraction"]) > _ROUNDING:
            why = "is not the one that the picture was restored by"
            raise StorageError(f"{where} {why}; put it back, or export without --masks")
        return _Mask(drawn or b"", f".mask{SUFFIXES[facts['format']][0]}")


def _accepted(output: str, storage: Storage) -> set[PictureKey]:
    decided = Reviews(output, storage).latest()
    chosen = {picture for picture, decision in decided.items() if decision.verdict == "accept"}
    if not chosen:
        raise NothingToResume(f"{output}: no picture is accepted yet; `repaint-batch review {output}` is where that is done")
    return chosen


def _rows(uri: str, storage: Storage) -> Iterator[dict[str, Any]]:
    filesystem, path = storage.arrow(uri)
    for batch in pq.ParquetFile(path, filesystem=filesystem).iter_batches(batch_size=_BATCH_ROWS):
        yield from batch.to_pylist()


def _picture(row: dict[str, Any], output: str, storage: Storage) -> bytes:
    data = read_output(row, output, storage)
    if hashlib.sha256(data).hexdigest() != row["output_sha256"]:
        where = row["output_uri"] or "its row"
        raise StorageError(f"{row['sample_id']}: the picture in {where} is not what was committed; put it back, or run again")
    return data


class _Folder:
    """One file a picture."""

    def __init__(self, target: str, storage: Storage, names: Names) -> None:
        self._target, self._storage, self._names = target, storage, names
        self._taken: set[int] = set()
        self._folders: set[int] = set()
        self.objects = 0

    def add(self, row: dict[str, Any], data: bytes, mask: _Mask | None) -> None:
        text = row["sample_id"]
        if self._names == "source" and row["image_uri"]:
            text = re.sub(r"^(s3:/|file:/)?/+", "", row["image_uri"])
        name, beside = _apart(name_of(text, row["output_format"]), self._taken), mask.suffix if mask else ""
        if any(_hash(file) in self._taken or _hash(file) in self._folders for file in (name, name + beside)):
            # "a" and "a.png", or one picture under two masks; the id tells them apart.
            stem, dot, suffix = name.rpartition(".")
            name = f"{stem}~{hashlib.sha256(row['sample_id'].encode()).hexdigest()[:16]}{dot}{suffix}"
        self._taken.update((_hash(name), _hash(name + beside)))
        self._folders.update(_hash(folder) for folder in _folders(name))
        self._storage.write(join(self._target, name), data)
        self.objects += 1
        if mask is not None:
            self._storage.write(join(self._target, name + beside), mask.data)
            self.objects += 1

    def close(self) -> None:
        return


def _folders(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: at + 1]) for at in range(len(parts))]


def _apart(name: str, taken: set[int]) -> str:
    """Return `name` so that none of its folders has the name of a file: of "a.png" and "a.png/b" both can be written."""
    for folder in _folders(name):
        if _hash(folder) in taken:
            return _apart(f"{folder}~{name[len(folder) :]}", taken)
    return name


def _hash(name: str) -> int:
    # Case folded: some file systems take "A.png" and "a.png" for the same.
    return int.from_bytes(hashlib.blake2b(name.casefold().encode(), digest_size=8).digest())


class _Parquet:
    """Files of a data set whose columns of pictures are Hugging Face's struct."""

    def __init__(self, target: str, storage: Storage, results: pa.Schema, masks: bool) -> None:
        self._target, self._storage = target, storage
        self._own = [field for field in results if field.name not in (*RESULTS.names, "image", "mask")]
        shown = [pa.field(name, IMAGE_STRUCT) for name in ("image", *(["mask"] if masks else []))]
        self._schema = _with_features(pa.schema([*shown, *(RESULTS.field(name) for name in _KEPT), *self._own]))
        self._batch: list[dict[str, Any]] = []
        self._batch_bytes = self._file_bytes = self.objects = 0
        self._scratch = tempfile.TemporaryDirectory(prefix="repaint-batch-")
        self._path = Path(self._scratch.name, "part.parquet")
        self._writer: pq.ParquetWriter | None = None

    def add(self, row: dict[str, Any], data: bytes, mask: _Mask | None) -> None:
        values = {name: row[name] for name in self._schema.names if name not in ("image", "mask")}
        name = name_of(row["sample_id"], row["output_format"])
        values["image"] = {"bytes": data, "path": name}
        if mask is not None:
            values["mask"] = {"bytes": mask.data, "path": name + mask.suffix}
            self._batch_bytes += len(mask.data)
        self._batch.append(values)
        self._batch_bytes += len(data)
        if self._batch_bytes >= _SHARD_BYTES // 8 or len(self._batch) == 1000:
            self._flush()
        if self._file_bytes >= _SHARD_BYTES:
            self._finish()

    def close(self) -> None:
        self._flush()
        self._finish()
        self._scratch.cleanup()

    def _flush(self) -> None:
        if not self._batch:
            return
        if self._writer is None:
            # Encoded pictures do not shrink.
            self._writer = pq.ParquetWriter(self._path, self._schema, compression="none", use_dictionary=False)
        self._writer.write_table(pa.Table.from_pylist(self._batch, schema=self._schema))
        self._file_bytes += self._batch_bytes
        self._batch, self._batch_bytes = [], 0

    def _finish(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        self._storage.upload(join(self._target, "data", f"train-{self.objects:05d}.parquet"), self._path)
        self.objects += 1
        self._writer, self._file_bytes = None, 0


def _with_features(schema: pa.Schema) -> pa.Schema:
    """Return `schema` with what tells Hugging Face's `datasets` that image is a picture, if it can be said of every column."""
    features: dict[str, Any] = {}
    for field in schema:
        if field.type != IMAGE_STRUCT and field.type not in _VALUES:
            return schema
        is_picture = field.type == IMAGE_STRUCT
        features[field.name] = {"_type": "Image"} if is_picture else {"dtype": _VALUES[field.type], "_type": "Value"}
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


class _WebDataset:
    """Tar shards: NUMBER.png or the like, NUMBER.mask.png, NUMBER.json with the row; an id could hold dots, which end a key."""

    def __init__(self, target: str, storage: Storage) -> None:
        self._target, self._storage = target, storage
        self._scratch = tempfile.TemporaryDirectory(prefix="repaint-batch-")
        self._path = Path(self._scratch.name, "shard.tar")
        self._tar: tarfile.TarFile | None = None
        self._bytes = self._number = self.objects = 0

    def add(self, row: dict[str, Any], data: bytes, mask: _Mask | None) -> None:
        if self._tar is None:
            self._tar = tarfile.TarFile(self._path, "w", format=tarfile.USTAR_FORMAT)
        key = f"{self._number:09d}"
        self._bytes += len(data)
        add_member(self._tar, f"{key}{SUFFIXES[row['output_format']][0]}", data)
        if mask is not None:
            self._bytes += len(mask.data)
            add_member(self._tar, f"{key}{mask.suffix}", mask.data)
        add_member(self._tar, f"{key}.json", facts_of(row))
        self._number += 1
        if self._bytes >= _SHARD_BYTES:
            self._finish()

    def close(self) -> None:
        self._finish()
        self._scratch.cleanup()

    def _finish(self) -> None:
        if self._tar is None:
            return
        self._tar.close()
        self._storage.upload(join(self._target, f"restored-{self.objects:06d}.tar"), self._path)
        self.objects += 1
        self._tar, self._bytes = None, 0
