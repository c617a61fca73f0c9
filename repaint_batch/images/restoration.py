"""From the owner's bytes to what a prior sees, and from what it restored back to the owner's bytes.

Two pure functions, so that blocks between the stages of a job carry encoded bytes and windows and never whole decoded
pictures: `prepare` cuts the windows, `compose` decodes the source once more, recomputes the same windows and writes the
restored hole into them, part by part.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from repaint_batch.config import ImagesConfig, OutputFormat
from repaint_batch.errors import ImageInvalid, SampleError
from repaint_batch.images.box import Box, common, grown, trimmed, within
from repaint_batch.images.checking import Seam
from repaint_batch.images.codec import Picture
from repaint_batch.images.colour import Colours
from repaint_batch.images.encoding import Encoded, encode, is_lossless, target_format
from repaint_batch.images.formats import FORMATS
from repaint_batch.images.orientation import upright
from repaint_batch.images.paging import page_of, plan_pages, read_job
from repaint_batch.images.provenance import Provenance, with_provenance
from repaint_batch.images.risk import MOST_PARTS, REACH_PX, Evidence, Risk
from repaint_batch.images.scaling import cut, enlarged, rim_correction
from repaint_batch.images.tones import NEAR_PX, Tones
from repaint_batch.images.windows import Window, leaves
from repaint_batch.images.witness import check_agrees, largest_known_difference

VERSION = 3
"""Part of what decides a result: changes whenever sources are cut into other windows, or windows make another picture."""
FEATHER_PX = 8
"""Width of the rim over which a hole that was restored at a coarser scale is blended into its surroundings."""
_PART_PX = 256


@dataclass(frozen=True)
class Prepared:
    """A picture as the prior sees it.

    Attributes:
        windows: (N, R, R, 3) float32 in [-1, 1], as stored; 0 in the hole.
        keep_mask: (N, R, R) bool, True = known pixel.
        plan: where the N windows lie, and in what order they are restored, see `repaint_batch.images.rounds`.
        orientation: EXIF orientation of the picture, by which the prior's input is turned upright, and what it restores back.
        width_px: width of the picture as stored, before any orientation tag.
        height_px: its height.
        format: Pillow's name of the picture's format: PNG, JPEG, WEBP, ...
        mode: Pillow's name of its pixels: L, RGB, CMYK, ...; or RGB;16 and the like, which Pillow lacks.
        hole_fraction: unknown pixels / all pixels; 0: nothing to do, and no windows.
    """

    windows: np.ndarray
    keep_mask: np.ndarray
    plan: tuple[Window, ...]
    orientation: int
    width_px: int
    height_px: int
    format: str
    mode: str
    hole_fraction: float


@dataclass(frozen=True)
class Restored:
    """A restored picture, encoded.

    Attributes:
        data: the bytes to publish.
        format: Pillow's name of their format.
        known_pixels_equal: every pixel outside the hole equals the source's decoded pixel: as the witness reads both files
            where the format is lossless, as handed to the encoder where it is not. A picture of which that is not so is
            refused.
        largest_known_difference: largest difference of a sample outside the hole between the source and `data`, both
            decoded by the witness, in steps of the source's depth; 0 for lossless formats.
        seam_score: gradient across the hole's rim over that inside the hole; about 1 where no seam shows, None where
            there is no rim to measure.
        risk: of having gone wrong, and why.
        dropped: names of what the source held beside its pixels and `data` does not.
    """

    data: bytes
    format: str
    known_pixels_equal: bool
    largest_known_difference: float
    seam_score: float | None
    risk: Risk
    dropped: tuple[str, ...] = ()


def prepare(
    image: bytes, mask: bytes, config: ImagesConfig, resolution_px: int, output_format: OutputFormat = "source"
) -> Prepared:
    """Return the windows of a picture that a prior of `resolution_px` is to restore.

    Args:
        image: encoded picture.
        mask: encoded mask, or boxes and polygons as JSON (see `repaint_batch.images.masks`).
        config: polarity and threshold of masks, caps on what is decoded and on windows.
        resolution_px: side R of the prior's square input.
        output_format: what `compose` will be asked for, so that a picture it cannot write is refused before sampling.

    Raises:
        ImageInvalid: bytes that are no picture, a truncated one, one over the caps or of a kind that cannot be kept.
        MaskInvalid: the same of the mask, one of another size than the picture, or one that needs too many windows.
    """
    pages = read_job(image, mask, config)
    picture = pages[0][0]
    target_format(picture, output_format, len(pages))
    for page, _ in pages:
        check_agrees(page)
    plan = plan_pages([keep_mask for _, keep_mask in pages], resolution_px, config)
    windows = np.zeros((len(plan), resolution_px, resolution_px, 3), dtype=np.float32)
    known = np.ones((len(plan), resolution_px, resolution_px), dtype=bool)
    colours: dict[int, Colours] = {}
    for i, placed in enumerate(plan):
        windows[i], known[i] = _window(pages, placed, config, resolution_px, colours)
    return Prepared(
        windows=windows,
        keep_mask=known,
        plan=plan,
        orientation=picture.orientation,
        width_px=picture.size[0],
        height_px=picture.size[1],
        format=picture.format,
        mode=picture.mode,
        hole_fraction=1 - sum(int(keep.sum()) for _, keep in pages) / sum(keep.size for _, keep in pages),
    )


def first_window(
    pages: list[tuple[Picture, np.ndarray]], plan: tuple[Window, ...], config: ImagesConfig, resolution_px: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first final window of a plan, upright: (R, R, 3) float32 in [-1, 1]; (R, R) bool, True = known pixel."""
    rgb, keep_mask = _window(pages, plan[leaves(plan)[0]], config, resolution_px, {})
    return upright(rgb, pages[0][0].orientation), upright(keep_mask, pages[0][0].orientation)


def _window(
    pages: list[tuple[Picture, np.ndarray]],
    placed: Window,
    config: ImagesConfig,
    resolution_px: int,
    colours: dict[int, Colours],
) -> tuple[np.ndarray, np.ndarray]:
    """Return what there is of a window, 0 in the hole; `colours` of pages are kept there."""
    number, window = page_of(placed)
    page, keep_mask = pages[number]
    if number not in colours:
        colours[number] = _colours(page, keep_mask, config)
    rgb, sees = cut(page, colours[number], keep_mask, window, resolution_px)
    return np.where(sees[..., None], rgb, 0), sees


def compose(
    image: bytes,
    mask: bytes,
    restored: np.ndarray,
    config: ImagesConfig,
    resolution_px: int,
    output_format: OutputFormat,
    made_by: Provenance | None = None,
) -> Restored:
    """Return the picture with its hole filled and everything else unchanged.

    Args:
        image: encoded picture, as it was given to `prepare`.
        mask: encoded mask, likewise.
        restored: (N, R, R, 3) float32 in [-1, 1], in the order of `Prepared.windows`.
        config: as given to `prepare`.
        resolution_px: side R of the prior's square input.
        output_format: encoding of the result; ``source`` keeps the picture's own.
        made_by: what the result is to say of its synthetic regions; None: nothing.

    Raises:
        SampleError: a restored window holds NaN or infinity.
        ImageInvalid, MaskInvalid: as `prepare` raises them; or the witness does not find the known pixels as they were.
    """
    # From JPEG to JPEG there is no detour by RGB, which would change blocks that nothing was restored in.
    pages = read_job(image, mask, config, as_coded=output_format in ("source", "jpeg"))
    plan = plan_pages([keep_mask for _, keep_mask in pages], resolution_px, config)
    if restored.shape != (len(plan), resolution_px, resolution_px, 3):
        raise ValueError(f"expected {len(plan)} windows of {resolution_px} px, got an array of shape {restored.shape}")
    if not np.isfinite(restored).all():
        raise SampleError("the prior returned NaN or infinity; try float32 precision")
    seam, evidence = Seam(), Evidence()
    fillings = _fillings(plan, restored, len(pages))
    changed = [
        (picture, _restored(picture, keep_mask, filling, config, seam, evidence))
        for (picture, keep_mask), filling in zip(pages, fillings, strict=True)
    ]
    (first, boxes), *further = changed
    written = encode(first, output_format, boxes, further)
    if made_by is not None:
        written = _signed(written, made_by, [box for box, _ in boxes])
    return Restored(
        data=written.data,
        format=written.format,
        known_pixels_equal=True,
        largest_known_difference=_proven(pages, written),
        seam_score=seam.score(),
        risk=evidence.risk(),
        dropped=written.dropped,
    )


def _signed(written: Encoded, made_by: Provenance, synthetic: list[Box]) -> Encoded:
    """Return a picture that says which of its regions are synthetic, and what made them."""
    data, unsaid = with_provenance(written.data, written.format, made_by, synthetic)
    return replace(written, data=data, dropped=(*written.dropped, *unsaid))


def _proven(pages: list[tuple[Picture, np.ndarray]], written: Encoded) -> float:
    """Return the largest difference of known samples between the pages of a source and of what was written.

    Raises:
        ImageInvalid: they differ where they must not.
    """
    largest = max(largest_known_difference(page, keep, written.data, i) for i, (page, keep) in enumerate(pages))
    if largest if is_lossless(written.format) else not np.isfinite(largest):
        raise ImageInvalid(
            f"picture: known pixels cannot be kept in a {written.format} of {pages[0][0].mode}: "
            f"{FORMATS[written.format].testifies} reads them changed by up to {largest:g}; convert it to a plain TIFF or PNG"
        )
    return largest


@dataclass(frozen=True, eq=False)
class _Filling:
    """Final windows, (R, R, 3) each, and where they lie."""

    windows: tuple[Window, ...]
    restored: list[np.ndarray]

    def is_coarse(self, box: Box) -> bool:
        """Return whether anything in `box` was solved at another scale; at scale 1 known pixels agree by themselves."""
        return any(
            window.side_px != len(restored) and common(window.square, box) is not None
            for window, restored in zip(self.windows, self.restored, strict=True)
        )


def _fillings(plan: tuple[Window, ...], restored: np.ndarray, pages: int) -> Iterator[_Filling]:
    """Yield the final windows of every page."""
    final: list[list[int]] = [[] for _ in range(pages)]
    for i in leaves(plan):
        final[page_of(plan[i])[0]].append(i)
    for numbers in final:
        yield _Filling(tuple(page_of(plan[i])[1] for i in numbers), [restored[i].astype(np.float32) for i in numbers])


def _colours(picture: Picture, keep_mask: np.ndarray, config: ImagesConfig) -> Colours:
    return Colours.of(picture, keep_mask, opaque=config.hole == "transparent")


def _parts(size: tuple[int, int]) -> list[Box]:
    width, height = size
    return [
        (left, top, min(left + _PART_PX, width), min(top + _PART_PX, height))
        for top in range(0, height, _PART_PX)
        for left in range(0, width, _PART_PX)
    ]


def _restored(
    picture: Picture, keep_mask: np.ndarray, filling: "_Filling", config: ImagesConfig, seam: Seam, evidence: Evidence
) -> list[tuple[Box, np.ndarray]]:
    """Write what was restored into one page; return boxes, and (h, w) bool in each, True where pixels have been changed.

    Raises:
        ImageInvalid: a known pixel does not stand as it did.
    """
    hole = ~keep_mask
    parts = [box for part in _parts(picture.size) if (box := trimmed(hole, part)) is not None]
    colours = _colours(picture, keep_mask, config) if parts else None
    for part in parts:
        if colours is not None and not _fill(picture, colours, keep_mask, filling, part, seam):
            raise ImageInvalid(f"picture: known pixels of {picture.mode} cannot be kept; convert it to a plain TIFF or PNG")
    evidence.add_page(hole)
    for part in parts[:: math.ceil(len(parts) / MOST_PARTS) or 1]:  # once all are filled: evidence lies around a part too
        left, top, right, bottom = box = grown(part, REACH_PX, picture.size)
        if colours is not None:
            evidence.add(colours.to_rgb(picture.crop(box).copy()), hole[top:bottom, left:right], within(part, box))
    return [(box, hole[box[1] : box[3], box[0] : box[2]]) for box in parts]


def _fill(
    picture: Picture, colours: Colours, keep_mask: np.ndarray, filling: _Filling, part: Box, seam: Seam
) -> bool:
    """Write the restored pixels of one part; return whether its known pixels are as they were."""
    # The rim is blended, and tones are held to, by known pixels around the part, which are never written.
    feather_px = FEATHER_PX if filling.is_coarse(part) else 0
    box = grown(part, max(NEAR_PX, 3 * feather_px), picture.size)
    known = keep_mask[box[1] : box[3], box[0] : box[2]]
    source = picture.crop(box).copy()
    seen = colours.to_rgb(source)
    rgb, covered = _blended(filling, box)
    if feather_px:
        rgb += rim_correction(seen - rgb, known & covered, feather_px)
    rgb = np.where(known[..., None], seen, rgb)
    tones = Tones.around(part, picture, colours, keep_mask)
    if tones is not None:
        rgb = tones.held(rgb, known)
    np.clip(rgb, -1, 1, out=rgb)
    seam.add(rgb, ~known)
    inner = within(part, box)
    hole = ~known[inner]
    samples = source[inner].copy()
    samples[hole] = colours.from_rgb(rgb[inner][hole], samples[hole])
    picture.put(part, samples)
    written = picture.crop(part)
    return bool((_bits(written)[~hole] == _bits(source[inner])[~hole]).all())


def _bits(samples: np.ndarray) -> np.ndarray:
    # Floats are compared as their bits, so that NaN equals itself.
    return np.ascontiguousarray(samples).view(f"u{samples.dtype.itemsize}") if samples.dtype.kind == "f" else samples


def _blended(filling: _Filling, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Return (h, w, 3) restored RGB over `box` and (h, w) where there is any.

    A pixel is its window's on whose duty it is; of duties that overlap a finer window's outweighs a coarser one's. Windows of
    one scale agree there by themselves: the later one was given what the earlier one restored. Around all duties, where
    pixels are known and `rim_correction` looks, windows share by weights that fall to 0 at their edges.
    """
    shape = (box[3] - box[1], box[2] - box[0])
    on_duty, around = _Sum.zeros(shape), _Sum.zeros(shape)
    for window, restored in zip(filling.windows, filling.restored, strict=True):
        shared = common(window.square, box)
        if shared is None:
            continue
        place = within(shared, box)
        weight = _weight(window, shared) * np.float32((len(restored) / window.side_px) ** 2)
        duty = _inside(window.duty, shared)
        values = enlarged(restored, window, shared)
        on_duty.add(place, values, np.where(duty, weight, 0))
        around.add(place, values, np.where(duty, 0, weight))
    rgb = np.where(on_duty.weights[..., None] > 0, on_duty.mean(), around.mean())
    return rgb, (on_duty.weights > 0) | (around.weights > 0)


@dataclass(frozen=True, eq=False)
class _Sum:
    """A weighted sum of (h, w, 3) pixels, and its (h, w) weights."""

    values: np.ndarray
    weights: np.ndarray

    @classmethod
    def zeros(cls, shape: tuple[int, int]) -> "_Sum":
        return cls(np.zeros((*shape, 3), dtype=np.float32), np.zeros(shape, dtype=np.float32))

    def add(self, place: tuple[slice, slice], values: np.ndarray, weight: np.ndarray) -> None:
        self.values[place] += weight[..., None] * values
        self.weights[place] += weight

    def mean(self) -> np.ndarray:
        return self.values / np.where(self.weights > 0, self.weights, 1)[..., None]


def _inside(duty: Box, box: Box) -> np.ndarray:
    """Return (h, w) bool over `box`: True inside `duty`."""
    columns, rows = np.arange(box[0], box[2]), np.arange(box[1], box[3])
    return np.outer((rows >= duty[1]) & (rows < duty[3]), (columns >= duty[0]) & (columns < duty[2]))


def _weight(window: Window, box: Box) -> np.ndarray:
    """Return (h, w) float32: 1 on the window's duty, falling linearly to 0 at the window's nearest edge."""
    reach = max(
        1,
        min(
            window.duty[0] - window.left,
            window.duty[1] - window.top,
            window.left + window.side_px - window.duty[2],
            window.top + window.side_px - window.duty[3],
        ),
    )

    def along(start: int, stop: int, low: int, high: int) -> np.ndarray:
        at = np.arange(start, stop)
        return np.maximum(np.maximum(low - at, at - (high - 1)), 0)

    outside = np.maximum(
        along(box[1], box[3], window.duty[1], window.duty[3])[:, None],
        along(box[0], box[2], window.duty[0], window.duty[2])[None, :],
    )
    return np.asarray(np.clip(1 - outside / (reach + 1), 0, 1), dtype=np.float32)
