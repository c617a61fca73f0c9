"""Samples of any mode to the RGB that a prior sees, and back.

The prior sees numbers in the picture's own colour space: profiles are kept, not applied. What is transparent is seen on
white. Only CMYK needs its profile, because ink and light are related by nothing else; without one, or with a broken
one, the plain complement stands in.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

from repaint_batch.errors import ImageInvalid
from repaint_batch.images.codec import Picture

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_CHUNK = 2**14


@dataclass(frozen=True, eq=False)
class Colours:
    """How one picture's samples relate to RGB.

    Attributes:
        mode: the picture's.
        full: sample of full light; for I and F the distance from `low` to full light.
        low: sample that counts as black; 0 except for I and F, whose range is that of their known pixels.
        levels: distinct shades that a grey sample can take in the file.
        palette: (N, 4) uint8 RGBA entries, for P and PA.
        inks: profile transforms CMYK → RGB and back, where the picture's profile gives them.
        opaque: whether restored pixels become opaque, because transparency was what marked them.
    """

    mode: str
    full: float
    low: float
    levels: int
    palette: np.ndarray | None
    inks: tuple[ImageCms.ImageCmsTransform, ImageCms.ImageCmsTransform] | None
    opaque: bool

    @classmethod
    def of(cls, picture: Picture, keep_mask: np.ndarray, opaque: bool) -> "Colours":
        """Return the colours of `picture`, whose known pixels are `keep_mask` (H, W) bool.

        Raises:
            ImageInvalid: a known sample is NaN or infinite.
        """
        full, low = (65535.0 if "16" in picture.mode else 255.0), 0.0
        if picture.mode in ("I", "F"):
            low, high = _known_range(picture, keep_mask)
            full = high - low or 1.0
        return cls(
            mode=picture.mode,
            full=full,
            low=low,
            levels=2 ** min(picture.depth, 16),
            palette=_palette(picture.image) if picture.mode in ("P", "PA") else None,
            inks=_inks(picture.image) if picture.mode == "CMYK" else None,
            opaque=opaque,
        )

    def to_rgb(self, samples: np.ndarray) -> np.ndarray:
        """Return (h, w, 3) float32 in [-1, 1] of `samples` as `Picture.crop` gives them; NaN becomes black."""
        if self.mode in ("CMYK", "YCbCr"):
            return _unit(self._light(samples), 255)
        if self.mode == "1":
            samples = samples.astype(np.uint8) * np.uint8(255)
        alpha = self._alpha(samples)
        if self.palette is not None:
            samples = self.palette[samples if samples.ndim == 2 else samples[..., 0]][..., :3]
        elif samples.ndim == 3:
            samples = samples[..., : 1 if self.mode.startswith("LA") else 3]
        if samples.ndim == 2:
            samples = samples[..., None]
        if self.mode in ("I", "F"):
            shades = (np.nan_to_num(samples, posinf=0, neginf=0).astype(np.float64) - self.low) / self.full
            rgb = (np.clip(shades, 0, 1) * 2 - 1).astype(np.float32)
        else:
            rgb = _unit(samples, self.full if self.palette is None else 255)
        if rgb.shape[2] == 1:
            rgb = np.repeat(rgb, 3, axis=2)
        if alpha is not None:
            rgb = np.asarray(alpha * rgb + (1 - alpha))
        return np.asarray(rgb)

    def from_rgb(self, rgb: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Return samples that show `rgb`, (M, 3) float32 in [-1, 1], in place of M `samples` of the picture."""
        if self.mode in ("CMYK", "YCbCr"):
            return self._coded(rgb)
        # An entry of a palette brings its own opacity; everything else keeps that of its pixel.
        alpha = None if self.opaque or self.mode == "P" else self._alpha(samples)
        if alpha is not None:
            # The inverse of being seen on white; where nothing is seen, any colour will do.
            rgb = np.where(alpha > 0, (rgb - (1 - alpha)) / np.maximum(alpha, 1 / self.full), rgb)
        shades = np.clip((rgb + 1) / 2, 0, 1)
        if self.palette is not None:
            index = self._nearest(shades * 255)
            return index if samples.ndim == 1 else np.stack([index, self._kept_alpha(samples)], axis=-1)
        if self.mode in ("RGB", "RGBA", "RGB;16", "RGBA;16"):
            restored = np.rint(shades * self.full).astype(samples.dtype)
        else:
            restored = self._grey(shades @ _LUMA, samples.dtype)
            if samples.ndim == 1:
                return restored
            restored = restored[:, None]
        if samples.shape[1] == restored.shape[1]:
            return restored
        return np.concatenate([restored, self._kept_alpha(samples)[:, None]], axis=1)

    def _grey(self, shades: np.ndarray, dtype: np.dtype) -> np.ndarray:
        if self.mode == "1":
            return np.asarray(shades >= 0.5)
        if self.mode == "F":
            return (self.low + shades * self.full).astype(dtype)
        if self.mode == "I":
            return np.rint(self.low + shades.astype(np.float64) * self.full).astype(dtype)
        steps = min(self.levels - 1, int(self.full))
        return np.asarray(np.rint(shades * steps) * (self.full / steps), dtype=dtype)

    def _alpha(self, samples: np.ndarray) -> np.ndarray | None:
        """Return opacity (..., 1) in [0, 1], or None where everything is opaque."""
        if self.mode in ("LA", "PA", "RGBA", "LA;16", "RGBA;16"):
            return np.asarray(samples[..., -1:].astype(np.float32) / np.float32(self.full))
        if self.mode == "P" and self.palette is not None and (self.palette[:, 3] < 255).any():
            return np.asarray(self.palette[samples][..., 3:].astype(np.float32) / np.float32(255))
        return None

    def _kept_alpha(self, samples: np.ndarray) -> np.ndarray:
        alpha = samples[:, -1]
        return np.full_like(alpha, self.full) if self.opaque else alpha

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
        height, width = samples.shape[:2]
        image = Image.frombytes(self.mode, (width, height), np.ascontiguousarray(samples).tobytes())
        shown = ImageCms.applyTransform(image, self.inks[0]) if self.inks else image.convert("RGB")
        assert shown is not None
        return np.asarray(shown)

    def _coded(self, rgb: np.ndarray) -> np.ndarray:
        light = np.rint(np.clip((rgb + 1) / 2, 0, 1) * 255).astype(np.uint8)
        image = Image.frombytes("RGB", (len(light), 1), light.tobytes())
        if self.mode == "YCbCr":
            return np.asarray(np.asarray(image.convert("YCbCr"))[0])
        if self.inks:
            inks = ImageCms.applyTransform(image, self.inks[1])
            assert inks is not None
            return np.asarray(np.asarray(inks)[0])
        # Pillow shows CMYK as (1 - c)(1 - k): black takes what the three inks share.
        light = light.astype(np.float32)
        brightest = light.max(axis=1, keepdims=True)
        cmy = 255 * (1 - light / np.maximum(brightest, 1))
        return np.asarray(np.rint(np.concatenate([cmy, 255 - brightest], axis=1)), dtype=np.uint8)


def _unit(samples: np.ndarray, full: float) -> np.ndarray:
    rgb = samples.astype(np.float32)
    rgb *= np.float32(2 / full)
    rgb -= 1
    return rgb


def _known_range(picture: Picture, keep_mask: np.ndarray) -> tuple[float, float]:
    lows, highs = [], []
    for box in picture.strips():
        known = picture.crop(box)[keep_mask[box[1] : box[3]]]
        if not np.isfinite(known).all():
            raise ImageInvalid("picture: known samples are NaN or infinite; replace them, or mark them in the mask")
        if len(known):
            lows.append(float(known.min()))
            highs.append(float(known.max()))
    return (min(lows), max(highs)) if lows else (0.0, 1.0)


def _palette(image: Image.Image) -> np.ndarray:
    palette = np.zeros((256, 4), dtype=np.uint8)
    colours = np.array(image.getpalette("RGBA") or [], dtype=np.uint8).reshape(-1, 4)
    palette[: len(colours)] = colours
    # Indices past the palette's end are in no file that keeps to its format; they are never chosen either.
    palette[len(colours) :, 3] = 0
    transparency = image.info.get("transparency")
    if isinstance(transparency, bytes):
        palette[: len(transparency), 3] = np.frombuffer(transparency[:256], dtype=np.uint8)
    elif isinstance(transparency, int) and transparency < len(palette):
        palette[transparency, 3] = 0
    return palette


def _inks(image: Image.Image) -> tuple[ImageCms.ImageCmsTransform, ImageCms.ImageCmsTransform] | None:
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        screen = ImageCms.createProfile("sRGB")
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
        return (
            ImageCms.buildTransform(profile, screen, "CMYK", "RGB", intent, flags),
            ImageCms.buildTransform(screen, profile, "RGB", "CMYK", intent, flags),
        )
    except (KeyError, OSError, TypeError, ValueError, ImageCms.PyCMSError):
        return None
