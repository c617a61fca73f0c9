"""Rows looked at as a job would: read, decoded, planned; nothing is sampled and nothing is written."""

import hashlib
import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from repaint_batch.config import JobConfig
from repaint_batch.errors import MaskInvalid, SampleError, SourceMissing, StorageError, UriRefused, redact
from repaint_batch.images.codec import Picture, read_mask_picture, read_pages
from repaint_batch.images.encoding import target_format
from repaint_batch.images.masks import read_keep_masks
from repaint_batch.images.paging import plan_pages
from repaint_batch.images.restoration import first_window
from repaint_batch.images.windows import Window
from repaint_batch.images.witness import check_agrees
from repaint_batch.inpainting.fit import PLACES
from repaint_batch.inpainting.restorer import nfe_of
from repaint_batch.manifest import Manifest, check_id, image_bytes_or_uri, read_rows, result_id
from repaint_batch.preflight.contact_sheet import thumbnail
from repaint_batch.preflight.findings import Findings, Look, Place
from repaint_batch.sampler.presets import sampler_of
from repaint_batch.sampler.sampler import Sampler
from repaint_batch.storage import Storage
from repaint_batch.uris import UriPolicy, normalise

SAMPLED_ROWS = 50
_PLACES = 10  # spots of the manifest that a sample is drawn from: each costs a row group to read
_SPAN_ROWS = 64  # rows that are held at a time
_THREADS = 8


@dataclass(frozen=True)
class _Looker:
    config: JobConfig
    storage: Storage
    policy: UriPolicy
    resolution_px: int | None

    @cached_property
    def sampler(self) -> Sampler:
        """The job's."""
        asked = self.config.sampler
        return sampler_of(asked.preset, asked.num_steps, asked.own)

    def look(self, row: int, values: dict[str, Any], *, draw: bool, draw_found: bool, cut: bool) -> Look:
        """Return what a row is; a store that does not answer raises, a bad row does not.

        Args:
            row: its number.
            values: what the manifest says.
            draw: whether a thumbnail is wanted.
            draw_found: whether it is if damage is found.
            cut: whether a window is wanted.
        """
        sample_id, picture, is_searched = result_id(values["sample_id"]), None, self._is_searched(values)
        try:
            check_id(values["sample_id"])
        except SampleError as error:
            return Look(sample_id, row, "long id", str(error))
        try:
            image = self._bytes(values, "image")
            mask = self._mask(values, image)
            pages = read_pages(image, self.config.images)
            picture = pages[0]
            keep_masks = read_keep_masks(mask, pages, self.config.images)
            target_format(picture, self.config.output.format, len(pages))
            for page in pages:
                check_agrees(page)
        except StorageError:
            raise
        except Exception as error:  # strangers' bytes reach decoders here: any error is this row's alone
            return Look(sample_id, row, self._fault(error, values, picture), redact(str(error)))
        plan: tuple[Window, ...] = ()
        if self.resolution_px is not None:
            try:
                plan = plan_pages(keep_masks, self.resolution_px, self.config.images)
            except MaskInvalid as error:
                return Look(sample_id, row, "too many windows", str(error))
        hole_fraction = 1 - sum(int(keep.sum()) for keep in keep_masks) / sum(keep.size for keep in keep_masks)
        draw |= draw_found and is_searched and hole_fraction > 0
        return Look(
            sample_id,
            row,
            is_searched=is_searched,
            hole_fraction=hole_fraction,
            plan=plan,
            nfe=nfe_of(plan, self.sampler),
            digest=int.from_bytes(hashlib.blake2b(_sized(image) + mask, digest_size=8).digest()),
            thumbnail=thumbnail(picture, keep_masks[0]) if draw else None,
            place=self._place(list(zip(pages, keep_masks, strict=True)), plan) if cut and plan else None,
        )

    def _place(self, pages: list[tuple[Picture, np.ndarray]], plan: tuple[Window, ...]) -> Place:
        assert self.resolution_px is not None, "there is a plan"
        window, keep_mask = first_window(pages, plan, self.config.images, self.resolution_px)
        return window.astype(np.float16), keep_mask

    def _is_searched(self, values: dict[str, Any]) -> bool:
        """Return whether a row has no mask, and damage is looked for in its picture."""
        return self.config.images.masks is not None and image_bytes_or_uri(values["mask"]) == (None, None)

    def _mask(self, values: dict[str, Any], image: bytes) -> bytes:
        """Return a row's mask, or that of what is found in it."""
        images = self.config.images
        if images.masks is None or not self._is_searched(values):
            return self._bytes(values, "mask")
        from repaint_batch.damage.finding import find_in, found_mask  # and torch, which a look can do without

        found, picture = find_in(image, images.masks, images)
        return found_mask(found, picture, images)

    def _bytes(self, values: dict[str, Any], name: str) -> bytes:
        data, uri = image_bytes_or_uri(values[name])
        if data is None:
            if not uri:
                raise SourceMissing(f"{name} is null; give a URI or bytes")
            data = self.policy.read(uri, self.storage, self.config.images.max_bytes)
        return data

    def _fault(self, error: Exception, values: dict[str, Any], picture: Picture | None) -> str:
        if isinstance(error, SourceMissing):
            return "missing"
        if isinstance(error, UriRefused):
            return "refused"
        if not isinstance(error, MaskInvalid) or picture is None:
            return "unreadable picture"
        try:
            mask = read_mask_picture(self._bytes(values, "mask"), self.config.images)
        except SampleError:
            return "unreadable mask"
        return "sizes differ" if mask.size not in (picture.size, picture.upright_size) else "unreadable mask"


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(8) + data


def preflight(
    config: JobConfig,
    manifest: Manifest,
    storage: Storage,
    rows: int | None = SAMPLED_ROWS,
    *,
    resolution_px: int | None = None,
    drawn: int = 0,
) -> Findings:
    """Return what a look at some rows of a manifest, or at all of them, finds.

    The sample depends on the manifest alone, so that a second look sees the same rows.

    Args:
        config: the job.
        manifest: its manifest.
        storage: how to reach the pictures.
        rows: how many to look at; None: all.
        resolution_px: side of the prior's input; without it windows are not counted.
        drawn: how many thumbnails for the contact sheet; where damage is looked for, of damaged pictures first.

    Raises:
        StorageError: the store does not answer.
    """
    policy = UriPolicy(manifest.base, tuple(normalise(prefix) for prefix in config.storage.allow))
    looker = _Looker(config, storage, policy, resolution_px)
    findings = Findings(manifest.rows, hole=config.images.hole)
    chance = random.Random(manifest.fingerprint)
    spans = _sampled(manifest.rows, manifest.rows if rows is None else rows, chance)
    looked = sum(stop - start for start, stop in spans)
    to_draw = set(chance.sample(range(looked), min(drawn, looked)))
    to_cut = set(chance.sample(range(looked), min(2 * PLACES, looked)))
    began_s = time.process_time()
    with ThreadPoolExecutor(min(_THREADS, (os.cpu_count() or 1) + 2)) as pool:
        for start, stop in spans:
            values = read_rows(manifest.files, start, stop, storage).to_pylist()
            seen = findings.looked
            found = findings.marked < drawn
            jobs = [
                pool.submit(looker.look, start + i, row, draw=seen + i in to_draw, draw_found=found, cut=seen + i in to_cut)
                for i, row in enumerate(values)
            ]
            for job in jobs:
                findings.add(job.result())
    findings.cpu_s = time.process_time() - began_s
    del findings.thumbnails[drawn:]
    return findings


def _sampled(total: int, wanted: int, chance: random.Random) -> list[tuple[int, int]]:
    """Return ranges of at most `_SPAN_ROWS` rows that hold `wanted` of `total` rows, in order, without overlap."""
    if wanted >= total:
        return [(start, min(start + _SPAN_ROWS, total)) for start in range(0, total, _SPAN_ROWS)]
    span = max(1, min(_SPAN_ROWS, -(-wanted // _PLACES)))
    places = -(-wanted // span)
    # Gaps between the spans are a random composition of the rows left over.
    left_over = total - wanted
    cuts = sorted(chance.randint(0, left_over) for _ in range(places))
    return list(_placed(cuts, span, wanted))


def _placed(cuts: list[int], span: int, wanted: int) -> Iterator[tuple[int, int]]:
    taken = 0
    for cut in cuts:
        size = min(span, wanted - taken)
        yield cut + taken, cut + taken + size
        taken += size
