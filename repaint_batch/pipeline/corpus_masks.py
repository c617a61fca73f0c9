"""Masks of a whole corpus by Ray: a pass over all pictures for what only a corpus knows, then one in which masks are written.

Pictures are looked at in units of some rows. What a unit found is one Parquet file, named by a hash of its pictures and of the
settings: a run that was stopped goes on with the units that have none. A picture that ends its worker, alone in a unit, has
failed.

    MANIFEST's folder /  masks/PATH.png        one bit, white = hole; none for a clean picture
                         found/HASH.parquet    all rows of a unit, clean and failed ones too
    MANIFEST                                   damaged pictures, to be run
"""

import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from PIL import Image
from ray.exceptions import RayError, RayTaskError

from repaint_batch.config import ComputeConfig, FindConfig, ImagesConfig, StorageConfig, fingerprint
from repaint_batch.damage import transport
from repaint_batch.damage.finding import Known, find_in, finder_fingerprint, found_mask, grey_of, mask_png, pixels_of
from repaint_batch.damage.overlay import LEAST_PICTURES, MOST_PICTURES, overlay_of
from repaint_batch.errors import RepaintBatchError, StorageError, redact
from repaint_batch.images.codec import read_picture
from repaint_batch.pipeline.run import ray_session
from repaint_batch.storage import Storage
from repaint_batch.uris import join, normalise

FOUND = pa.schema(
    [
        pa.field("sample_id", pa.string()),
        pa.field("image", pa.string()),
        pa.field("mask", pa.string()),  # null: clean, or failed
        pa.field("kinds", pa.list_(pa.string())),
        pa.field("damaged_fraction", pa.float64()),  # of the picture's area
        pa.field("confidence", pa.float64()),  # 0 .. 1
        pa.field("marks", pa.int64()),  # single scratches and specks
        pa.field("reason", pa.string()),  # why a picture could not be looked at
    ]
)
_UNIT_ROWS = 16
Size = tuple[int, int]
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Listed:
    """A picture: its id, where it is, and what changes with its contents."""

    sample_id: str
    uri: str
    identity: str


@dataclass(frozen=True)
class Search:
    """What is looked for, where, and where masks go."""

    settings: FindConfig
    images: ImagesConfig
    storage: StorageConfig
    folder: str

    def key(self, unit: Sequence[Listed]) -> str:
        """Return what a unit's file is called."""
        asked = [finder_fingerprint(self.settings), self.images.model_dump(mode="json", exclude_defaults=True)]
        return fingerprint(asked, [[row.sample_id, row.uri, row.identity] for row in unit])


@dataclass
class Survey:
    """What pictures have in common, as far as they were looked at.

    Attributes:
        sizes: ids and URIs of the pictures of each size.
        films: profiles, down and across, and how many, of the frames of each folder and size.
    """

    sizes: dict[Size, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    films: dict[tuple[str, Size], tuple[list[transport.Profile], int]] = field(default_factory=dict)

    def add(self, other: "Survey") -> None:
        """Take in what was seen of other pictures."""
        for size, rows in other.sizes.items():
            self.sizes[size] += rows
        for key, (profiles, count) in other.films.items():
            if key in self.films:
                known, so_far = self.films[key]
                self.films[key] = [transport.summed(pair) for pair in zip(known, profiles, strict=True)], so_far + count
            else:
                self.films[key] = profiles, count


@dataclass(frozen=True, eq=False)
class Corpus:
    """What a corpus tells of its pictures: overlays by size, encoded, and scratches of films by folder and size."""

    overlays: Mapping[Size, bytes]
    films: Mapping[tuple[str, Size], tuple[list[transport.Line], list[transport.Line]]]

    def known(self, row: Listed, size: Size) -> Known:
        """Return what it tells of one picture."""
        overlay = self.overlays.get(size)
        down, across = self.films.get((_folder(row), size), (None, None))
        return Known(None if overlay is None else np.asarray(Image.open(io.BytesIO(overlay))), down, across)


def find_masks(
    rows: Sequence[Listed],
    search: Search,
    compute: ComputeConfig,
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[dict[str, Any]]:
    """Return one row of `FOUND` for every picture, in their order, after writing the masks.

    Args:
        rows: the pictures.
        search: what is looked for.
        compute: which cluster.
        on_progress: told how many pictures are done.

    Raises:
        StorageError: the store does not answer; a later run goes on.
    """
    storage = Storage(search.storage)
    units = [rows[start : start + _UNIT_ROWS] for start in range(0, len(rows), _UNIT_ROWS)]
    held = {uri for uri, _ in storage.walk(join(search.folder, "found"))}
    pending = [unit for unit in units if _part(search, unit) not in held]
    done = len(rows) - sum(map(len, pending))
    on_progress(done)
    if pending:
        with ray_session(compute):
            corpus = ray.put(_corpus(units, search))
            for unit, _ in _answers(_find_unit, pending, (ray.put(search), corpus), _isolated(search, corpus)):
                done += len(unit)
                on_progress(done)
    found: list[dict[str, Any]] = []
    for unit in units:
        found += pq.read_table(io.BytesIO(storage.read(_part(search, unit)))).to_pylist()
    return found


def _part(search: Search, unit: Sequence[Listed]) -> str:
    return join(search.folder, "found", f"{search.key(unit)}.parquet")


def _folder(row: Listed) -> str:
    return row.uri.rpartition("/")[0]


def _answers(
    work: Callable[..., _Answer],
    units: Sequence[Sequence[Listed]],
    shared: Sequence[Any],
    alone: Callable[[Sequence[Listed]], _Answer],
) -> Iterator[tuple[Sequence[Listed], _Answer]]:
    """Yield units with the answers of workers, as they come; `alone` answers for a unit whose worker died twice."""
    task = ray.remote(num_cpus=1, max_retries=1)(work)
    room = max(2, 2 * int(ray.cluster_resources().get("CPU", 1)))
    waiting: dict[Any, Sequence[Listed]] = {}
    left = list(reversed(units))
    while left or waiting:
        while left and len(waiting) < room:
            unit = left.pop()
            waiting[task.remote(*shared, unit)] = unit
        (ready,), _ = ray.wait(list(waiting), num_returns=1)
        unit = waiting.pop(ready)
        try:
            yield unit, ray.get(ready)
        except RayTaskError as error:
            if isinstance(error.cause, RepaintBatchError):
                raise error.cause from None
            raise
        except RayError:
            yield unit, alone(unit)


def _isolated(search: Search, corpus: Any) -> Callable[[Sequence[Listed]], None]:
    """Return what finds which picture of a unit ends its worker: each goes through one of its own."""
    one = ray.remote(num_cpus=1, max_retries=0)(_look)

    def alone(unit: Sequence[Listed]) -> None:
        rows = []
        for row in unit:
            try:
                rows.append(ray.get(one.remote(search, corpus, row)))
            except RayTaskError as error:
                raise error.cause if isinstance(error.cause, RepaintBatchError) else error from None
            except RayError:
                rows.append({**_row(row), "reason": "whatever this picture does, it ends the process that looks at it"})
        _write_part(search, unit, rows)

    return alone


def _find_unit(search: Search, corpus: Corpus, unit: Sequence[Listed]) -> None:
    """Look at a unit's pictures, write their masks, and then what was found."""
    _write_part(search, unit, [_look(search, corpus, row) for row in unit])


def _write_part(search: Search, unit: Sequence[Listed], rows: list[dict[str, Any]]) -> None:
    held = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=FOUND), held)
    Storage(search.storage).write(_part(search, unit), held.getvalue())


def _row(row: Listed) -> dict[str, Any]:
    return {"sample_id": row.sample_id, "image": row.uri, "mask": None, "kinds": [], "marks": 0}


def _look(search: Search, corpus: Corpus, row: Listed) -> dict[str, Any]:
    """Return what was found in one picture, after writing its mask; a bad picture is told as a reason."""
    storage, told = Storage(search.storage), _row(row)
    try:
        data = storage.read(row.uri, search.images.max_bytes)
        size = read_picture(data, search.images).upright_size if corpus.overlays or corpus.films else (0, 0)
        found, picture = find_in(data, search.settings, search.images, corpus.known(row, size))
        if found.hole.any():
            told["mask"] = mask_uri(search.folder, row.sample_id)
            storage.write(told["mask"], found_mask(found, picture, search.images))
    except StorageError:
        raise
    except Exception as error:  # strangers' bytes reach decoders here: any error is this picture's alone
        known = isinstance(error, RepaintBatchError)
        told["reason"] = redact(str(error) if known else f"unexpected {type(error).__name__}: {error}")
        return told
    return told | {
        "kinds": list(found.shares),
        "damaged_fraction": float(found.hole.mean()),
        "confidence": found.confidence,
        "marks": found.marks,
    }


def mask_uri(folder: str, sample_id: str) -> str:
    """Return where the mask of a picture is put: at the picture's own path, so that a person finds it."""
    return join(normalise(folder), "masks", f"{sample_id}.png")


def _corpus(units: Sequence[Sequence[Listed]], search: Search) -> Corpus:
    """Return what the whole corpus tells, if anything of that kind is asked for."""
    asked = set(search.settings.find) & {"overlay", "transport"}
    if not asked:
        return Corpus({}, {})
    survey = Survey()
    shared = (ray.put(search),)
    for _, seen in _answers(_survey_unit, units, shared, lambda unit: Survey()):
        survey.add(seen)
    films = {
        key: (transport.lines_of(profiles[0], transport.FILM_Z), transport.lines_of(profiles[1], transport.FILM_Z))
        for key, (profiles, count) in survey.films.items()
        if count >= LEAST_PICTURES
    }
    overlay = ray.remote(num_cpus=1)(_overlay)
    large = {size: rows for size, rows in survey.sizes.items() if len(rows) >= LEAST_PICTURES and "overlay" in asked}
    tasks = {size: overlay.remote(search, sorted(rows), size) for size, rows in large.items()}
    overlays = {size: data for size, task in tasks.items() if (data := ray.get(task)) is not None}
    return Corpus(overlays, films)


def _survey_unit(search: Search, unit: Sequence[Listed]) -> Survey:
    survey, storage = Survey(), Storage(search.storage)
    for row in unit:
        try:
            pixels = pixels_of(read_picture(storage.read(row.uri, search.images.max_bytes), search.images))
        except StorageError:
            raise
        except Exception:  # it is told of when it is searched
            continue
        size = (pixels.shape[1], pixels.shape[0])
        seen = Survey()
        seen.sizes[size].append((row.sample_id, row.uri))
        if "transport" in search.settings.find:
            grey = grey_of(pixels)
            profiles = [transport.added([transport.profile_of(turned)]) for turned in (grey, grey.T)]
            seen.films[_folder(row), size] = profiles, 1
        survey.add(seen)
    return survey


def _overlay(search: Search, rows: Sequence[tuple[str, str]], size: Size) -> bytes | None:
    """Return the overlay of pictures of one size as an encoded mask; None if there is none."""
    storage = Storage(search.storage)
    chosen = [rows[place] for place in np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_PICTURES)).astype(int))]
    greys = [grey_of(pixels_of(read_picture(storage.read(uri), search.images))) for _, uri in chosen]
    hole = overlay_of(greys)
    return mask_png(hole) if hole.any() else None
