"""Which pixels of a mask's picture mark the hole: read where it is certain, refused with what was found where it is not.

Tools draw masks in white on black, but also as 0 and 1, as numbers of classes in the colours of a palette, as a red brush, or on
a transparent layer. Where one reading alone makes sense it is taken: two values of which one is 0, one colour on black, one
colour on a transparent layer. Three classes, a brush over a photograph, or a grey below the threshold could mean anything; they
are refused, and the message names the values, so that images.hole can.
"""

import math

import numpy as np
from PIL import Image

from repaint_batch.config import ImagesConfig
from repaint_batch.errors import MaskInvalid
from repaint_batch.images.picture import Picture

_LOSSY = {"JPEG", "WEBP", "AVIF", "HEIF", "JPEG2000", "JXL"}
_NOISE = 8  # of 255, which lossy formats leave in what was black
_CHROMA = 48  # of 255: the largest channel over the smallest, from which a pixel has a colour
_SAME_COLOUR = 64  # of 255: what one brush may differ from itself once its brightness is taken out
_ONES = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0, float(2**31 - 1))
"""White in masks whose samples have more bits than were used."""
_NAMED = 5
_LOOKED_AT = 1 << 20  # pixels that are enough to name the commonest colours


def marked(mask: Picture, config: ImagesConfig) -> np.ndarray:
    """Return (h, w) bool over the mask as stored, True = hole.

    Raises:
        MaskInvalid: it does not say certainly what is to be restored; the message tells what it holds, and what to do.
    """
    if config.hole.startswith("#"):
        wanted = [int(config.hole[at : at + 2], 16) for at in (1, 3, 5)]
        return np.asarray((np.asarray(mask.image.convert("RGB")) == wanted).all(axis=2))
    if config.hole in ("transparent", "opaque"):
        opacity = _opacity(mask)
        if opacity is None:
            raise MaskInvalid(f"mask: mode {mask.mode} has no alpha channel, and images.hole is {config.hole}")
        opaque = opacity >= config.mask_threshold
        return np.asarray(opaque if config.hole == "opaque" else ~opaque)
    opacity = _opacity(mask)
    if opacity is not None and opacity.min() < opacity.max():
        return _layer(mask, opacity, config)
    return _turned(_white(mask, config), config)


def _turned(white: np.ndarray, config: ImagesConfig) -> np.ndarray:
    return white if config.hole == "white" else ~white


def _opacity(mask: Picture) -> np.ndarray | None:
    """Return (h, w) float32 opacity in [0, 1]; None where there is no alpha channel."""
    if mask.layout.alpha is not None and not isinstance(mask.pixels, Image.Image):
        alpha = mask.whole()[..., mask.layout.colours].astype(np.float32)
        return np.asarray(alpha / np.float32(mask.layout.full_alpha))
    if not mask.image.has_transparency_data:
        return None
    return np.asarray(mask.image.convert("RGBA"))[..., 3].astype(np.float32) / np.float32(255)


def _white(mask: Picture, config: ImagesConfig) -> np.ndarray:
    """Return (h, w) bool, True where a mask without opacity is white, or is the colour that was painted on black."""
    samples, layout = mask.whole(), mask.layout
    if layout.kind == "bilevel":
        return np.asarray(samples)
    if layout.kind == "grey":
        return _light(samples if samples.ndim == 2 else samples[..., 0], layout.top, mask, config)
    if layout.kind == "rgb" and layout.top != 255:
        colours = samples[..., :3]
        if (colours.max(axis=2) == colours.min(axis=2)).all():
            return _light(colours[..., 0], layout.top, mask, config)
    return _coloured(np.asarray(mask.image.convert("RGB")), mask, config)


def _light(values: np.ndarray, top: float | None, mask: Picture, config: ImagesConfig) -> np.ndarray:
    """Return where one channel is white.

    Args:
        values: (h, w) samples.
        top: full light; None where the format does not tell.
        mask: what they are of.
        config: threshold.
    """
    found = _distinct(values)
    if not np.isfinite(found).all() or found.min() < 0:
        raise MaskInvalid(f"mask: {_told(found)} are no shades; store it with 1, 8 or 16 bits a sample")
    most = float(found.max())
    if top is None:
        top = 1.0 if most <= 1 else most if most in _ONES else None
    if top is None:
        raise MaskInvalid(f"mask: {_told(found)}, and mode {mask.mode} has no white; store it with 1, 8 or 16 bits a sample")
    least_white = config.mask_threshold * top
    least_white = math.ceil(least_white) if values.dtype.kind in "iu" else least_white
    if most >= least_white:
        _refuse_classes(values, found, least_white, mask, config)
        return np.asarray(values >= least_white)
    if most == 0 or (mask.format in _LOSSY and most <= top * _NOISE / 255):
        return np.zeros(values.shape, dtype=bool)
    if len(found) == 2 and found.min() == 0 and most in _ONES:
        return np.asarray(values > 0)
    raise MaskInvalid(f"mask: {_told(found)}, and none is white, which is {top:g}; {_advice(found, top)}")


def _refuse_classes(values: np.ndarray, found: np.ndarray, least_white: float, mask: Picture, config: ImagesConfig) -> None:
    """Refuse numbers of classes with 255 for what belongs to none: their white is the one thing that nobody means."""
    between = found[(found > 0) & (found < least_white)]
    if not len(between) or mask.format in _LOSSY or (found >= least_white).sum() > 1 or config.mask_threshold != 0.5:
        return
    labelled = np.count_nonzero((values > 0) & (values < least_white))
    if labelled > np.count_nonzero(values >= least_white):
        raise MaskInvalid(f"mask: {_told(found)} look like numbers of classes; {_advice(found, 255)}")


def _coloured(rgb: np.ndarray, mask: Picture, config: ImagesConfig) -> np.ndarray:
    """Return where (h, w, 3) uint8 pixels are white, or the one colour that was painted on black."""
    bright, dark = rgb.max(axis=2), rgb.min(axis=2)
    has_colour = bright - dark > _CHROMA
    if not has_colour.any():
        return _light(np.asarray(Image.fromarray(rgb).convert("L")), 255.0, mask, config)
    least_white = math.ceil(config.mask_threshold * 255)
    most = int(bright[has_colour].max())
    painted = has_colour & (bright >= min(least_white, most * config.mask_threshold))
    hues = rgb[painted] * (np.float32(255) / bright[painted, None])
    is_one = (hues.max(axis=0) - hues.min(axis=0) <= _SAME_COLOUR).all()
    on_black = not (bright[~has_colour] >= least_white).any()
    if not (is_one and on_black):
        raise MaskInvalid(
            f"mask: colours {_commonest(rgb)}, of which none is certainly the hole; say images.hole: '#rrggbb' for the one "
            "that is, or draw it in white on black"
        )
    return np.asarray(painted)


def _layer(mask: Picture, opacity: np.ndarray, config: ImagesConfig) -> np.ndarray:
    """Return the hole of a mask that is transparent in places: what a brush has painted on a layer."""
    rgb = np.asarray(mask.image.convert("RGBA"))[..., :3]
    most = float(opacity.max())
    strong, bare = opacity >= most / 2, opacity == 0
    brush = rgb[strong]
    if bare.any() and (brush.max(axis=0).astype(int) - brush.min(axis=0) <= _NOISE).all():
        colour = brush[0]
        name = f"#{colour[0]:02x}{colour[1]:02x}{colour[2]:02x}"
        same_ground = (np.abs(rgb[bare].astype(int) - colour) <= _NOISE).all()
        is_light = int(colour.max()) >= 128
        if (same_ground and strong.mean() > 0.5) or (config.hole == "black" and is_light):
            raise MaskInvalid(
                f"mask: all that is not transparent is {name}, {strong.mean():.0%} of it; say images.hole: opaque if that is the "
                "hole, or transparent if the rest is"
            )
        return np.asarray(opacity >= config.mask_threshold * most)
    # Several colours: what was not painted is known.
    ground = np.float32(0 if config.hole == "white" else 255)
    flat = rgb * opacity[..., None] + ground * (1 - opacity[..., None])
    return _turned(_coloured(np.rint(flat).astype(np.uint8), mask, config), config)


def _distinct(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        return np.flatnonzero(np.bincount(values.ravel(), minlength=1))
    return np.unique(values)


def _told(found: np.ndarray) -> str:
    if len(found) <= _NAMED:
        *others, last = (f"{value:g}" for value in found.tolist())
        return f"values {', '.join(others)} and {last}" if others else f"value {last} alone"
    return f"{len(found):,} values from {found[0]:g} to {found[-1]:g}"


def _advice(found: np.ndarray, top: float) -> str:
    if top != 255:
        return "draw the hole in white, or store the mask with 8 bits"
    value = int(found[found > 0][0])
    return f"say images.hole: '#{value:02x}{value:02x}{value:02x}' if {value} is the hole, or lower images.mask_threshold"


def _commonest(rgb: np.ndarray) -> str:
    pixels = rgb.reshape(-1, 3)[:: max(1, rgb.shape[0] * rgb.shape[1] // _LOOKED_AT)].astype(np.uint32)
    numbers, counts = np.unique((pixels[:, 0] << 16) | (pixels[:, 1] << 8) | pixels[:, 2], return_counts=True)
    first = [f"#{number:06x}" for number in numbers[np.argsort(-counts, kind="stable")][:_NAMED].tolist()]
    return ", ".join(first) + (f" and {len(numbers) - _NAMED:,} more" if len(numbers) > _NAMED else "")
