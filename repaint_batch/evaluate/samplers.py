"""Samplers that only the judge runs, beside those of the presets.

`Langevin`: at each of L levels K corrections, then one DDIM step to the next: L (K + 1) evaluations. With d = 1 - e^{-h} and
w = sqrt(1 - e^{-2h}) z it is the exponential integrator, exact where the drift is constant. Where it follows x the hole gets
too little variance: (1 + e^{-h}) / ((1 + e^{-h}) + g (1 - e^{-h})) of the right one for dm/dx = g.

`Projected`: the predicted picture has its known pixels set, then is noised to the next level; on known pixels eps holds what the
network got wrong, which the next evaluation sees:

    x' = a' x̂_0 + s' (sqrt(1 - eta²) eps + eta z),   x̂_0 = y where known, pred_x0 in the hole

Sources: Zheng et al., "Lanpaint", 2025; Song et al., ICLR 2021, eq. 12; Wang, Yu and Zhang, "Zero-Shot Image Restoration Using
Denoising Diffusion Null-Space Model" (DDNM), ICLR 2023, algorithm 1, whose time travel is the jump of RePaint.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from repaint_batch.sampler.levels import levels_of, power_grid
from repaint_batch.sampler.path import Move, folded
from repaint_batch.sampler.repaint import RePaint
from repaint_batch.sampler.sampler import Sampler
from repaint_batch.sampler.schedule import NoiseSchedule
from repaint_batch.sampler.table import Line, Step, Table


@dataclass(frozen=True)
class Langevin(Sampler):
    """Guided Langevin corrections at each of a few levels.

    Attributes:
        num_levels: L.
        corrections: K, Langevin steps at each level before it is left by a DDIM step.
        h: time of one correction.
        pull: strength of the bidirectional guidance.
        power: levels lie at times ~ u^power.
    """

    name, version = "langevin", 2

    num_levels: int = 12
    corrections: int = 4
    h: float = 1.2
    pull: float = 30.0
    power: float = 1.7

    def table(self, schedule: NoiseSchedule, *, fixed_large_variance: bool = False) -> Table:
        d, g = 1 - math.exp(-self.h), self.pull / (1 + self.pull)
        amplitude = math.sqrt(1 - math.exp(-2 * self.h))
        steps = []
        for index, a, s, a_next, s_next in levels_of(schedule, power_grid(self.num_levels, self.power, len(schedule))):
            correct = Step(
                index,
                hole=Line(cx=1 - d, c0=d * a, cn=s * amplitude),
                known=Line(cx=1 - d + d * g, c0=-d * g * a, cy=d * a, cn=s * amplitude / math.sqrt(1 + self.pull)),
            )
            ratio = s_next / s
            leave = Step(index, Line(cx=ratio, c0=a_next - ratio * a), Line(cx=ratio, cy=a_next - ratio * a))
            steps += [correct] * self.corrections + [leave]
        return Table.of(schedule, steps, len(schedule))


@dataclass(frozen=True)
class Projected(Sampler):
    """DDNM's sampler.

    Attributes:
        num_steps: steps down, on a grid of times ~ u^power.
        eta: share of fresh noise in a step.
        power: over 1 is finer at weak noise.
        jump_length: j, levels that a jump goes up.
        jump_n_sample: r, how often each stretch is sampled.
    """

    name, version = "projected", 2

    num_steps: int = 100
    eta: float = 0.85
    power: float = 1.0
    jump_length: int = 10
    jump_n_sample: int = 1

    @property
    def path(self) -> Sequence[Move]:
        """The moves down and up."""
        return RePaint(self.num_steps, self.jump_length, self.jump_n_sample).path

    def table(self, schedule: NoiseSchedule, *, fixed_large_variance: bool = False) -> Table:
        process = schedule.at(torch.tensor(power_grid(self.num_steps, self.power, len(schedule))[::-1]))
        alpha_bar = [*process.alpha_bar.tolist(), 1.0]  # index -1 is the clean picture
        steps = []
        for move, level in folded(self.path):
            i = move.index
            a, s = math.sqrt(alpha_bar[i]), math.sqrt(1 - alpha_bar[i])
            a_next, s_next = math.sqrt(alpha_bar[i - 1]), math.sqrt(1 - alpha_bar[i - 1])
            u = math.sqrt(alpha_bar[level] / alpha_bar[i - 1])
            kept = u * s_next * math.sqrt(1 - self.eta**2) / s
            noise = math.sqrt((u * s_next * self.eta) ** 2 + 1 - u**2)
            steps.append(
                Step(i, Line(cx=kept, c0=u * a_next - kept * a, cn=noise), Line(cx=kept, c0=-kept * a, cy=u * a_next, cn=noise))
            )
        return Table.of(process, steps, len(schedule), starts_known=False)
