"""RePaint: known pixels put in before every network call, and a path that jumps back and forth in time.

With i the index of a respaced process, a = sqrt(alpha_bar_i), s = sqrt(1 - alpha_bar_i) and a', s' one index lower:

    hole:   x' = a' pred_x0 + sqrt(s'² - std²) eps + std z,   eps = (x - a pred_x0) / s,   std² = eta² sigma_i²
    known:  x' = a'' y + s'' z,   a'', s'' at the level that the network sees next

For eta = 1 the first is the mean of q(x_{t-1} | x_t, pred_x0) plus its noise, for eta = 0 DDIM.

Sources: Lugmayr et al., "RePaint: Inpainting using Denoising Diffusion Probabilistic Models", CVPR 2022, eq. 8 and
algorithm 1; Ho et al. 2020, eq. 6-7; Song et al. 2021, eq. 12 and 16.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from repaint_batch.errors import PriorError
from repaint_batch.sampler.path import Jump, Move, folded, jump_times, moves
from repaint_batch.sampler.sampler import Sampler
from repaint_batch.sampler.schedule import NoiseSchedule
from repaint_batch.sampler.table import Line, ReverseVariance, Step, Table


@dataclass(frozen=True)
class RePaint(Sampler):
    """The paper's sampler.

    Attributes:
        num_steps: steps of the respaced process.
        jump_length: j, levels that a jump goes up.
        jump_n_sample: r, how often each stretch is sampled.
        eta: 1 ancestral, 0 DDIM.
    """

    name, version = "repaint", 2

    num_steps: int = 250
    jump_length: int = 10
    jump_n_sample: int = 10
    eta: float = 1.0

    @property
    def path(self) -> Sequence[Move]:
        """The moves down and up."""
        jumps = [Jump(self.jump_length, self.jump_n_sample)] if self.jump_n_sample > 1 else []
        return tuple(moves(jump_times(self.num_steps, jumps)))

    def table(self, schedule: NoiseSchedule, *, fixed_large_variance: bool = False) -> Table:
        if self.num_steps > len(schedule):
            raise PriorError(f"{self.num_steps} steps were asked of a prior that has {len(schedule)}; ask for fewer")
        process = schedule.respaced(self.num_steps)
        steps = repaint_steps(process, self.path, self.eta, fixed_large_variance=fixed_large_variance)
        return Table.of(process, steps, len(schedule), starts_known=False)


def repaint_steps(
    process: NoiseSchedule, path: Sequence[Move], eta: float = 1.0, *, fixed_large_variance: bool = False
) -> list[Step]:
    """Return the steps of a path through `process`, every jump folded into the step before it."""
    alpha_bar = [*process.alpha_bar.tolist(), 1.0]  # index -1 is the clean picture
    posterior = process.posterior_variance.tolist()
    fixed = process.betas.tolist() if fixed_large_variance else posterior
    steps = []
    for step, level in folded(path):
        i = step.index
        a, s, ab, ab_prev = math.sqrt(alpha_bar[i]), math.sqrt(1 - alpha_bar[i]), alpha_bar[level], alpha_bar[i - 1]
        to_eps = math.sqrt(max(0.0, 1 - ab_prev - eta**2 * posterior[i]))
        std = eta * math.sqrt(fixed[i]) if i > 0 else 0.0
        u = math.sqrt(ab / ab_prev)
        hole = Line(
            cx=u * to_eps / s,
            c0=u * (math.sqrt(ab_prev) - to_eps * a / s),
            cn=math.sqrt((u * std) ** 2 + 1 - u**2),
        )
        # The posterior's logarithm at index 0, where it is 0, is taken from the step before.
        low = math.log(posterior[max(i, 1)] if len(posterior) > 1 else process.betas[0].item())
        variance = ReverseVariance(u, std, low, math.log(process.betas[i].item()), eta, noisy=float(i > 0))
        steps.append(Step(i, hole, Line(cy=math.sqrt(ab), cn=math.sqrt(1 - ab)), variance))
    return steps


