"""A restoration watched from noise to picture: a film strip or an animated GIF.

`Recorder` is handed to a sampler as `on_step` and keeps a few states; `filmstrip` and `write_gif` show them.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from repaint_batch.errors import ConfigError
from repaint_batch.report.embedding import encoded, enlarged
from repaint_batch.sampler.run import ChainState

GAP_PX = 4
HOLD_MS = 1800
"""How long the finished picture stands at the end of a GIF."""


@dataclass
class Recorder:
    """Keeps states of a chain, evenly over its path, last one included.

    Args:
        positions: steps of the path, `Sampler.nfe`.
        frames: states to keep.
        pictures: of the batch to keep, from the first; by default all of them.

    Attributes:
        kept: position and x_t, (B, C, H, W) float32, of each.
    """

    positions: int
    frames: int = 12
    pictures: int | None = None
    kept: list[tuple[int, np.ndarray]] = field(default_factory=list)

    def __post_init__(self) -> None:
        count = max(1, min(self.frames, self.positions))
        self._wanted = {round(self.positions * (number + 1) / count) for number in range(count)}

    def __call__(self, state: ChainState) -> None:
        """Take a state, as a sampler's `on_step`."""
        if state.position in self._wanted:
            self.kept.append((state.position, state.x_t[: self.pictures].detach().float().cpu().numpy().copy()))

    @property
    def arrays(self) -> list[np.ndarray]:
        """The states kept, in order."""
        return [frame for _, frame in self.kept]


def filmstrip(frames: Sequence[np.ndarray], *, labels: Sequence[str] = (), picture_px: int = 96) -> Image.Image:
    """Return frames side by side, one line for each picture of the batch.

    Args:
        frames: (B, C, H, W) arrays in [-1, 1], C = 1 or 3; values beyond are clipped.
        labels: words over the columns, one a frame, or none.
        picture_px: least side of each picture.
    """
    columns = [[enlarged(picture, picture_px) for picture in _pictures(frame)] for frame in _checked(frames)]
    width, height = columns[0][0].size
    head = 20 if labels else 0
    lines = len(columns[0])
    size = (len(columns) * (width + GAP_PX) - GAP_PX, head + lines * (height + GAP_PX) - GAP_PX)
    strip = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(12)
    for column, label in enumerate(labels[: len(columns)]):
        place = (column * (width + GAP_PX) + width // 2, head // 2)
        draw.text(place, label, fill=(90, 96, 104), font=font, anchor="mm")
    for column, pictures in enumerate(columns):
        for line, picture in enumerate(pictures):
            strip.paste(picture, (column * (width + GAP_PX), head + line * (height + GAP_PX)))
    return strip


def write_gif(frames: Sequence[np.ndarray], path: str | Path, *, picture_px: int = 192, frame_ms: int = 90) -> None:
    """Write frames to `path` as an animated GIF that loops, pictures of the batch side by side.

    Args:
        frames: (B, C, H, W) arrays in [-1, 1], C = 1 or 3; values beyond are clipped.
        path: file to write.
        picture_px: least side of each picture.
        frame_ms: time of a frame; the last one stands longer.
    """
    shown = []
    for frame in _checked(frames):
        pictures = [enlarged(picture, picture_px) for picture in _pictures(frame)]
        width, height = pictures[0].size
        line = Image.new("RGB", (len(pictures) * (width + GAP_PX) - GAP_PX, height), "white")
        for column, picture in enumerate(pictures):
            line.paste(picture, (column * (width + GAP_PX), 0))
        shown.append(line)
    durations = [frame_ms] * (len(shown) - 1) + [HOLD_MS]
    buffer = io.BytesIO()
    shown[0].save(buffer, "GIF", save_all=True, append_images=shown[1:], duration=durations, loop=0)
    Path(path).write_bytes(buffer.getvalue())


def check_trace(path: str | Path) -> None:
    """Raise ConfigError unless `path` ends in what a trace can be written as."""
    if Path(path).suffix.lower() not in (".gif", ".png"):
        raise ConfigError(f"--trace: {path} ends in neither .gif (animation) nor .png (film strip); choose one of them")


def write_trace(frames: Sequence[np.ndarray], path: str | Path, labels: Sequence[str] = ()) -> None:
    """Write frames to `path`: an animation if it ends in .gif, a film strip if in .png.

    Raises:
        ConfigError: it ends in something else.
    """
    check_trace(path)
    if Path(path).suffix.lower() == ".gif":
        write_gif(frames, path)
    else:
        Path(path).write_bytes(encoded(filmstrip(frames, labels=labels)))


def _checked(frames: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    if not frames:
        raise ValueError("a trace needs at least one frame")
    if any(frame.shape != frames[0].shape or frame.ndim != 4 or frame.shape[1] not in (1, 3) for frame in frames):
        raise ValueError(f"frames must be (B, C, H, W) of one shape, C = 1 or 3; got {[f.shape for f in frames]}")
    return frames


def _pictures(frame: np.ndarray) -> list[Image.Image]:
    pixels = np.clip((frame.astype(np.float32) + 1) * 127.5 + 0.5, 0, 255).astype(np.uint8)
    channels_last = np.broadcast_to(pixels.transpose(0, 2, 3, 1), (len(pixels), *pixels.shape[2:], 3))
    return [Image.fromarray(np.ascontiguousarray(picture)) for picture in channels_last]
