"""Guided Langevin sampling: hole and known pixels both move, the known ones pulled to where the network reads them right.

At a level with signal a = sqrt(alpha_bar) and sigma s, the denoised picture m = a pred_x0(x) is Langevin's drift. Let
y be the known pixels and r the residual in units of s, so that x = m + s r in the hole and x = a y + s r on known pixels.

    hole:   r ← (1 - d) (x - m) / s + w
    known:  r ← ((1 - d) (x - a y) + d g (x - m)) / s + w / sqrt(1 + p),   g = p / (1 + p),   p = pull s

`pull` > 0 is bidirectional guidance: replacing known pixels (pull = 0) tells the network less than is known of them, while
pull → ∞ moves x until pred_x0 = y on known pixels, at which point m in the hole is, for a Gaussian prior, exactly the
mean given the known pixels. It falls with the noise, since where there is little the known pixels themselves say enough.

Every evaluation corrects and descends at once, by writing x at the next level a', s' with the new residual:

    w = sqrt(2 d) / 2 f (z_i + z_{i+1}),   f² = (1 + k q²) / (1 + k),   q = a' s / (a s')

Half of w is the noise of the step before, which for f = 1 makes the variance exact for every linear m and every d, as long as
levels lie close. Where one step goes far down it is lost in every direction whose variance is not far below the noise's: pred_x0
stays, while the level falls. f makes up for that, with k the gain of a typical direction; it is nearly 1 for 60 steps and more.

Sources: Zheng et al., "Lanpaint: Training-Free Diffusion Inpainting with Asymptotically Exact and Fast Conditional
Sampling", 2025 (bidirectional guidance); Leimkuhler and Matthews, "Rational Construction of Stochastic Numerical Methods
for Molecular Sampling", 2013 (averaged noise).
"""

import math
from dataclasses import dataclass

from repaint_batch.sampler.levels import levels_of, power_grid
from repaint_batch.sampler.sampler import Sampler
from repaint_batch.sampler.schedule import NoiseSchedule
from repaint_batch.sampler.table import Line, Step, Table

_GAIN = 0.05
"""k: share of its variance that the network's drift takes of a typical direction."""


@dataclass(frozen=True)
class AnnealedLangevin(Sampler):
    """Guided Langevin steps that descend, one network evaluation each, with averaged noise.

    Attributes:
        num_steps: network evaluations.
        step: d, share of the residual that a step renews; 0 .. 2.
        pull: strength of the bidirectional guidance at pure noise.
        power: steps lie at times ~ u^power.
    """

    name, version = "annealed-langevin", 2

    num_steps: int = 60
    step: float = 1.8
    pull: float = 40.0
    power: float = 2.4

    def table(self, schedule: NoiseSchedule, *, fixed_large_variance: bool = False) -> Table:
        grid = power_grid(self.num_steps, self.power, len(schedule))
        d, amplitude = self.step, math.sqrt(2 * self.step) / 2
        steps = []
        for index, a, s, a_next, s_next in levels_of(schedule, grid):
            pull = self.pull * s
            left, g = (1 - d) * s_next / s, pull / (1 + pull)
            w = amplitude * math.sqrt((s_next**2 + _GAIN * (a_next * s / a) ** 2) / (1 + _GAIN)) if s_next else 0.0
            w_known = w / math.sqrt(1 + pull)
            hole = Line(cx=left, c0=a_next - left * a, cz=w, cn=w)
            pulled = d * g * s_next / s
            known = Line(cx=left + pulled, c0=-pulled * a, cy=a_next - left * a, cz=w_known, cn=w_known)
            steps.append(Step(index, hole, known))
        return Table.of(schedule, steps, len(schedule))
