"""Samples of any mode to the RGB that a prior sees, and back.

The prior sees numbers in the picture's own colour space: profiles are kept, not applied. What is transparent is seen on
white. Only CMYK needs its profile, because ink and light are related by nothing else; without one, or with a broken
one, the plain complement stands in.
"""

import functools
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

from repaint_batch.errors import ImageInvalid
from repaint_batch.images.layout import Layout
from repaint_batch.images.picture import Picture

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of R, G and B in luma, BT.601."""
_CHUNK = 2**14
_PILLOW = {"cmyk": "CMYK", "ycc": "YCbCr", "lab": "LAB"}


@dataclass(frozen=True, eq=False)
class Colours:
    """How one picture's samples relate to RGB.

    Attributes:
        layout: what the samples mean.
        full: distance from `low` to full light.
        low: sample that counts as black; 0 where the layout knows its full light, otherwise the least known one.
        palette: (N, 4) uint8 RGBA entries, where samples are numbers of entries.
        inks: profile transforms CMYK → RGB and back, where the picture's profile gives them.
        opaque: whether restored pixels become opaque, because transparency was what marked them.
    """

    layout: Layout
    full: float
    low: float
    palette: np.ndarray | None
    inks: tuple[ImageCms.ImageCmsTransform, ImageCms.ImageCmsTransform] | None
    opaque: bool

    @classmethod
    def of(cls, picture: Picture, keep_mask: np.ndarray, opaque: bool) -> "Colours":
        """Return the colours of `picture`, whose known pixels are `keep_mask` (H, W) bool.

        Raises:
            ImageInvalid: a known sample is NaN or infinite.
        """
        layout = picture.layout
        low, high = (0.0, layout.top) if layout.top is not None else _known_range(picture, keep_mask)
        return cls(
            layout=layout,
            full=high - low or 1.0,
            low=low,
            palette=picture.palette,
            inks=_inks(picture.icc) if layout.kind == "cmyk" else None,
            opaque=opaque,
        )

    def to_rgb(self, samples: np.ndarray) -> np.ndarray:
        """Return (h, w, 3) float32 in [-1, 1] of `samples` as `Picture.crop` gives them; NaN becomes black."""
        layout = self.layout
        if samples.ndim == 2:
            samples = samples[..., None]
        alpha, colours = self._alpha(samples), samples[..., : layout.colours]
        if layout.kind in ("cmyk", "ycc", "lab"):
            rgb = _unit(self._light(colours), 255)
        elif self.palette is not None:
            rgb = _unit(self.palette[colours[..., 0]][..., :3], 255)
        else:
            rgb = self._shades(colours)
        if rgb.shape[2] == 1:
            rgb = np.repeat(rgb, 3, axis=2)
        if alpha is not None:
            # Seen on white; associated colours have been multiplied by their opacity already.
            share = 1 if layout.alpha == "associated" else alpha
            rgb = np.asarray(share * (rgb + 1) + 2 * (1 - alpha) - 1)
            np.clip(rgb, -1, 1, out=rgb)
        return np.asarray(rgb)

    def _shades(self, colours: np.ndarray) -> np.ndarray:
        if self.layout.kind == "bilevel":
            colours = colours.astype(np.uint8) * np.uint8(255)
        if self.layout.top is not None:
            rgb = _unit(colours, self.full)
            if self.layout.dtype.itemsize > 1:
                np.minimum(rgb, 1, out=rgb)  # samples may lie above the full light that a file declares
        else:
            shades = (np.nan_to_num(colours, posinf=0, neginf=0).astype(np.float64) - self.low) / self.full
            rgb = (np.clip(shades, 0, 1) * 2 - 1).astype(np.float32)
        return -rgb if self.layout.inverted else rgb

    def from_rgb(self, rgb: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Return samples that show `rgb`, (M, 3) float32 in [-1, 1], in place of M `samples` of the picture."""
        layout, flat = self.layout, samples.ndim == 1
        if flat:
            samples = samples[:, None]
        # An entry of a palette brings its own opacity; everything else keeps that of its pixel.
        alpha = None if self.opaque or layout.kind == "palette" else self._alpha(samples)
        if alpha is not None and layout.alpha == "associated":
            rgb = np.clip(rgb - 2 * (1 - alpha), -1, 2 * alpha - 1)
        elif alpha is not None:
            # The inverse of being seen on white; where nothing is seen, any colour will do.
            rgb = np.where(alpha > 0, (rgb - (1 - alpha)) / np.maximum(alpha, 1 / layout.full_alpha), rgb)
        restored = samples.copy()
        restored[:, : layout.colours] = self._colours(rgb, samples.dtype)
        if layout.alpha is not None and self.opaque:
            restored[:, layout.colours] = layout.full_alpha
        return restored[:, 0] if flat else restored

    def _colours(self, rgb: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Return (M, colours) samples that show (M, 3) RGB in [-1, 1]."""
        if self.layout.kind in ("cmyk", "ycc", "lab"):
            return self._coded(rgb)
        shades = np.clip((rgb + 1) / 2, 0, 1)
        if self.palette is not None:
            return self._nearest(shades * 255)[:, None]
        if self.layout.colours == 1:
            shades = (shades @ LUMA)[:, None]
        if self.layout.inverted:
            shades = 1 - shades
        if self.layout.kind == "bilevel":
            return np.asarray(shades >= 0.5)
        if dtype.kind == "f":
            return (self.low + shades.astype(np.float64) * self.full).astype(dtype)
        if self.layout.top is None:
            return _whole(self.low + shades.astype(np.float64) * self.full, dtype)
        steps = min(2**self.layout.depth - 1, int(self.full))
        return np.asarray(np.rint(np.rint(shades * steps) * (self.full / steps)), dtype=dtype)

    def _alpha(self, samples: np.ndarray) -> np.ndarray | None:
        """Return opacity (..., 1) in [0, 1], or None where everything is opaque."""
        if self.layout.alpha is not None:
            at = self.layout.colours
            opacity = samples[..., at : at + 1].astype(np.float32) / np.float32(self.layout.full_alpha)
            return np.asarray(np.clip(np.nan_to_num(opacity), 0, 1))
        if self.palette is not None and (self.palette[:, 3] < 255).any():
            return np.asarray(self.palette[samples[..., 0]][..., 3:].astype(np.float32) / np.float32(255))
        return None

    def _nearest(self, colours: np.ndarray) -> np.ndarray:
        """Return the palette entries nearest to (M, 3) `colours` in 0 .. 255, fully opaque ones where there are any."""
        assert self.palette is not None
        candidates = np.flatnonzero(self.palette[:, 3] == 255)
        if not len(candidates):
            candidates = np.arange(len(self.palette))
        entries = self.palette[candidates, :3].astype(np.float32)
        index = np.empty(len(colours), dtype=np.uint8)
        for start in range(0, len(colours), _CHUNK):
            part = colours[start : start + _CHUNK].astype(np.float32)
            # |c - e|^2 up to |c|^2, which does not depend on e.
            distance = (entries**2).sum(axis=1) - 2 * part @ entries.T
            index[start : start + _CHUNK] = candidates[distance.argmin(axis=1)]
        return index

    def _light(self, samples: np.ndarray) -> np.ndarray:
        """Return (h, w, 3) uint8 light of inks, of luma and chroma, or of Lab."""
        mode = _PILLOW[self.layout.kind]
        image = Image.frombytes(mode, samples.shape[1::-1], np.ascontiguousarray(self._bytes(samples)).tobytes())
        if mode == "LAB":
            shown = ImageCms.applyTransform(image, _lab()[0])
        else:
            shown = ImageCms.applyTransform(image, self.inks[0]) if self.inks else image.convert("RGB")
        assert shown is not None
        return np.asarray(shown)

    def _bytes(self, samples: np.ndarray) -> np.ndarray:
        """Return samples in 8 bits, as Pillow holds them."""
        if samples.dtype == np.uint8:
            return samples
        shares = (np.nan_to_num(samples.astype(np.float64)) - self.low) / self.full
        return np.asarray(np.rint(np.clip(shares, 0, 1) * 255), dtype=np.uint8)

    def _coded(self, rgb: np.ndarray) -> np.ndarray:
        light = np.rint(np.clip((rgb + 1) / 2, 0, 1) * 255).astype(np.uint8)
        image = Image.frombytes("RGB", (len(light), 1), light.tobytes())
        if self.layout.kind == "ycc":
            return np.asarray(np.asarray(image.convert("YCbCr"))[0])
        if self.layout.kind == "lab":
            coded = ImageCms.applyTransform(image, _lab()[1])
            assert coded is not None
            return np.asarray(np.asarray(coded)[0])
        if self.inks:
            inks = ImageCms.applyTransform(image, self.inks[1])
            assert inks is not None
            return self._deep(np.asarray(inks)[0] / 255)
        # Pillow shows CMYK as (1 - c)(1 - k): black takes what the three inks share.
        light = light.astype(np.float32)
        brightest = light.max(axis=1, keepdims=True)
        cmy = 255 * (1 - light / np.maximum(brightest, 1))
        return self._deep(np.rint(np.concatenate([cmy, 255 - brightest], axis=1)) / 255)

    def _deep(self, shares: np.ndarray) -> np.ndarray:
        """Return samples of shares of full ink."""
        values = self.low + shares.astype(np.float64) * self.full
        dtype = self.layout.dtype
        return values.astype(dtype) if dtype.kind == "f" else _whole(values, dtype)


@functools.cache
def _lab() -> tuple[ImageCms.ImageCmsTransform, ImageCms.ImageCmsTransform]:
    lab, screen = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, screen, "LAB", "RGB"), ImageCms.buildTransform(screen, lab, "RGB", "LAB")


def _whole(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return float64 values as the nearest whole numbers that `dtype` holds."""
    limits = np.iinfo(dtype)
    # The largest 64-bit number is not a float64; the next below is.
    high = float(limits.max) if limits.bits < 64 else np.nextafter(float(limits.max), 0)
    return np.asarray(np.clip(np.rint(values), float(limits.min), high), dtype=dtype)


def _unit(samples: np.ndarray, full: float) -> np.ndarray:
    rgb = samples.astype(np.float32)
    rgb *= np.float32(2 / full)
    rgb -= 1
    return rgb


def _known_range(picture: Picture, keep_mask: np.ndarray) -> tuple[float, float]:
    lows, highs = [], []
    for box in picture.strips():
        samples = picture.crop(box)
        if samples.ndim == 3:
            samples = samples[..., : picture.layout.colours]
        known = samples[keep_mask[box[1] : box[3]]]
        if not np.isfinite(known).all():
            raise ImageInvalid("picture: known samples are NaN or infinite; replace them, or mark them in the mask")
        if len(known):
            lows.append(float(known.min()))
            highs.append(float(known.max()))
    return (min(lows), max(highs)) if lows else (0.0, 1.0)


def _inks(icc: bytes) -> tuple[ImageCms.ImageCmsTransform, ImageCms.ImageCmsTransform] | None:
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        screen = ImageCms.createProfile("sRGB")
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
        return (
            ImageCms.buildTransform(profile, screen, "CMYK", "RGB", intent, flags),
            ImageCms.buildTransform(screen, profile, "RGB", "CMYK", intent, flags),
        )
    except (OSError, TypeError, ValueError, ImageCms.PyCMSError):
        return None
