"""A figure for how well a hole meets its surroundings."""

import numpy as np

_HALF_STEP = 0.5 / 127.5
"""Half a grey level of 8 bits, in the units of [-1, 1]."""


class Seam:
    """Gradients across the rim of a hole and inside it, gathered part by part."""

    def __init__(self) -> None:
        self._across = _Mean()
        self._inside = _Mean()

    def add(self, rgb: np.ndarray, hole: np.ndarray) -> None:
        """Add a part: (h, w, 3) RGB in [-1, 1] as restored, and (h, w) bool, True = hole."""
        grey = rgb.mean(axis=2, dtype=np.float32)
        for values, holes in ((grey, hole), (grey.T, hole.T)):
            steps = np.abs(np.diff(values, axis=0))
            self._across.add(steps[holes[1:] != holes[:-1]])
            self._inside.add(steps[holes[1:] & holes[:-1]])

    def score(self) -> float | None:
        """Return the mean step across the rim over that inside; None if either has no pixels.

        Half a grey level is added to both, so that two flat areas score 1.
        """
        if not self._across.count or not self._inside.count:
            return None
        return (self._across.value + _HALF_STEP) / (self._inside.value + _HALF_STEP)


class _Mean:
    def __init__(self) -> None:
        self.sum, self.count = 0.0, 0

    @property
    def value(self) -> float:
        return self.sum / self.count

    def add(self, values: np.ndarray) -> None:
        self.sum += float(values.sum(dtype=np.float64))
        self.count += values.size
