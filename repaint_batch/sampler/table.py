"""A sampler as data: the time that the network is told at every step, and the coefficients of the update that follows.

Step i sees the state x at level i, with signal a = sqrt(alpha_bar) and noise s = sqrt(1 - alpha_bar), asks the network for
pred_x0, and writes the state of step i + 1:

    x' = cx x + c0 pred_x0 + cy y + cz z_i + cn z_{i+1}

y are the known pixels, z_0, z_1, ... independent standard normal draws; z_0 is the noise that the chain starts from. There is
one set of coefficients for pixels of the hole and one for known pixels. Where a path goes back up after a step, the jump

    x'' = u x' + sqrt(1 - u²) z,   u² = alpha_bar_{t+j} / alpha_bar_t

is the same line once more, and is folded into the step: it costs no evaluation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from repaint_batch.sampler.schedule import NoiseSchedule

ENTRY_SHARE = 0.26
"""Share of the trained time at which a chain enters that starts from a draft, see `repaint_batch.sampler.drafts`."""


class Line(NamedTuple):
    """Coefficients of one update: of the state, the prediction, the known picture, and the draws of this step and the next."""

    cx: float = 0.0
    c0: float = 0.0
    cy: float = 0.0
    cz: float = 0.0
    cn: float = 0.0


class ReverseVariance(NamedTuple):
    """What a step needs to know of its variance, where the network learned it or guidance is scaled by it.

    Attributes:
        u: share of the signal that the jump after the step leaves; 1 where there is none.
        std: standard deviation of the step where it is not learned.
        log_low, log_high: logarithms of the least and the largest variance, between which a learned one lies.
        eta: factor of a learned standard deviation.
        noisy: 1, or 0 in the step that ends at the clean picture.
    """

    u: float
    std: float
    log_low: float
    log_high: float
    eta: float
    noisy: float


@dataclass(frozen=True)
class Step:
    """One network evaluation and the update that follows it.

    Attributes:
        index: of the schedule, what the network is told.
        hole, known: the update's coefficients.
        variance: None where neither a learned variance nor guidance of the mean is asked for: guidance then moves eps.
    """

    index: int
    hole: Line
    known: Line
    variance: ReverseVariance | None = None


class Rows(NamedTuple):
    """Rows of a table, one for each slot, see `Table`.

    Attributes:
        t: (B,) int64.
        signal, sigma: (B, 1, 1, 1) float32.
        hole, known: (5, B, 1, 1, 1) float32.
        variance: (6, B, 1, 1, 1) float32 or None.
    """

    t: Tensor
    signal: Tensor
    sigma: Tensor
    hole: Tensor
    known: Tensor
    variance: Tensor | None


@dataclass(frozen=True, eq=False)
class Table:
    """The steps of a sampler on one process, as tensors.

    Attributes:
        t: (N,) int64, what the network is told.
        signal, sigma: (N,) float32, a and s of the state that it is shown.
        hole, known: (5, N) float32, see `Line`.
        variance: (6, N) float32, see `ReverseVariance`; None where steps have none.
        starts_known: whether known pixels are put in before the first step, and not only after it.
        entry: step at which a chain enters that starts from a draft.
    """

    t: Tensor
    signal: Tensor
    sigma: Tensor
    hole: Tensor
    known: Tensor
    variance: Tensor | None
    starts_known: bool
    entry: int

    def __len__(self) -> int:
        return len(self.t)

    @classmethod
    def of(cls, schedule: NoiseSchedule, steps: Sequence[Step], trained_steps: int, *, starts_known: bool = True) -> "Table":
        """Return the table of `steps`.

        Args:
            schedule: the process that their indices count in.
            steps: all of one kind, with variances or without.
            trained_steps: T of the process that the network was trained with, which says where drafts enter.
            starts_known: see `Table`.
        """
        index = torch.tensor([step.index for step in steps])
        t, alpha_bar = schedule.timesteps[index], schedule.alpha_bar[index]
        late = (t <= ENTRY_SHARE * trained_steps).nonzero()
        variances = [step.variance for step in steps if step.variance is not None]
        return cls(
            t=t,
            signal=alpha_bar.sqrt().float(),
            sigma=(1 - alpha_bar).sqrt().float(),
            hole=_columns([step.hole for step in steps]),
            known=_columns([step.known for step in steps]),
            variance=_columns(variances) if variances else None,
            starts_known=starts_known,
            entry=int(late[0]) if len(late) else len(steps) - 1,
        )

    def at(self, position: Tensor) -> Rows:
        """Return the rows of steps `position` (B,) int64; of those beyond the end the last one."""
        i = position.clamp(max=len(self) - 1)
        shape = (-1, len(i), 1, 1, 1)
        hole, known = self.hole[:, i].view(shape), self.known[:, i].view(shape)
        variance = None if self.variance is None else self.variance[:, i].view(shape)
        signal, sigma = self.signal[i].view(-1, 1, 1, 1), self.sigma[i].view(-1, 1, 1, 1)
        return Rows(self.t[i], signal, sigma, hole, known, variance)

    def to(self, device: torch.device | str) -> "Table":
        """Return the table on a device."""
        t, signal, sigma, hole, known = (x.to(device) for x in (self.t, self.signal, self.sigma, self.hole, self.known))
        variance = None if self.variance is None else self.variance.to(device)
        return replace(self, t=t, signal=signal, sigma=sigma, hole=hole, known=known, variance=variance)


def _columns(rows: Sequence[tuple[float, ...]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).T.contiguous().float()
