"""The laws part: samplers on priors whose every conditional is known exactly, see `repaint_batch.evaluate.laws`.

Pictures are drawn from a law itself; for every mask each is restored many times, and the restorations are held against exact
samples of the posterior. No network is involved: what differs from the posterior is the sampler.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from repaint_batch.evaluate.laws import LAWS
from repaint_batch.evaluate.metrics import energy_distance, mode_distance, variances
from repaint_batch.evaluate.paper_masks import MASKS, MaskName, paper_mask
from repaint_batch.evaluate.scores import Metric, Score, summarise
from repaint_batch.priors.analytic import GaussianMixture, Mixture
from repaint_batch.sampler.sampler import Sampler
from repaint_batch.sampler.step import State, drift

METRICS = (
    Metric("energy_distance", "Energy distance", "low", "to exact samples of the posterior; 0 is exact"),
    Metric("mode_distance", "Mode error", "low", "total variation of the components chosen; few samples add to it"),
    Metric("variance_ratio", "Variance", "one", "sum of the restorations' over sum of the posteriors'; below 1 is too sure"),
)
_REFERENCE_SAMPLES = 1024


@dataclass(frozen=True, eq=False)
class Problem:
    """One picture under one mask.

    Attributes:
        mask: its name.
        picture: number of the picture.
        known: (C, H, W) float32.
        keep_mask: (1, H, W) bool.
        posterior: exact law of the hole.
        exact: (M, D) float32 samples of it.
    """

    mask: MaskName
    picture: int
    known: Tensor
    keep_mask: Tensor
    posterior: Mixture
    exact: Tensor

    def hole(self, pictures: Tensor) -> Tensor:
        """Return (N, D) hole pixels of `pictures` (N, C, H, W)."""
        hole = ~self.keep_mask.expand_as(self.known).reshape(-1)
        return pictures.reshape(len(pictures), -1)[:, hole]


def law_problems(prior: GaussianMixture, masks: Sequence[MaskName], pictures: int, seed: int = 0) -> list[Problem]:
    """Return every one of `pictures` draws of `prior` under every one of `masks`."""
    generator = torch.Generator().manual_seed(seed)
    known = prior.sample(pictures, generator)
    problems = []
    for mask in masks:
        for number, picture in enumerate(known):
            keep = paper_mask(mask, *prior.shape[1:], seed=seed * 1000 + number)
            posterior = prior.conditional(picture, keep)
            exact = posterior.sample(_REFERENCE_SAMPLES, generator).float()
            problems.append(Problem(mask, number, picture, keep, posterior, exact))
    return problems


@torch.inference_mode()
def restore(sampler: Sampler, prior: GaussianMixture, known: Tensor, keep_mask: Tensor, seed: int) -> Tensor:
    """Return restored pictures, as `repaint_batch.sampler.run.sample` does but for their noise.

    That of a job is keyed by picture, which costs five times what these priors do; here one stream serves the whole batch.

    Args:
        sampler: algorithm and settings.
        prior: a law.
        known: (B, C, H, W) float32.
        keep_mask: (B, 1, H, W) bool, True = known pixel.
        seed: of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    table = sampler.table(prior.schedule, fixed_large_variance=prior.fixed_large_variance)
    z = torch.randn(known.shape, generator=generator)
    placed = table.signal[0] * known + table.sigma[0] * z
    x_t = torch.where(keep_mask & torch.tensor(table.starts_known), placed, z)
    for position in range(len(table)):
        state = State(x_t, known, keep_mask, z, torch.full((len(known),), position))
        step = drift(prior, None, table, state)
        z = torch.randn(known.shape, generator=generator)
        x_t = step.mean + step.std * z
    return torch.where(keep_mask, known, x_t)


def evaluate_law(
    law: str,
    samplers: Mapping[str, Sampler],
    *,
    pictures: int,
    samples: int,
    prior: GaussianMixture | None = None,
    masks: Sequence[MaskName] = MASKS,
    seed: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> Iterable[Score]:
    """Yield the scores of `samplers` and, as "exact", those of another set of exact samples: the least that can be reached.

    Args:
        law: name of one of `LAWS`; "law <name>" is the part that scores are of.
        samplers: by name.
        pictures: draws of the prior; intervals resample them.
        samples: restorations of each picture under each mask.
        prior: by default the law of that name.
        masks: of the paper's.
        seed: of pictures and noise.
        report: called with a line as each sampler starts.
    """
    prior = prior or LAWS[law]()
    problems = law_problems(prior, masks, pictures, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    again = [problem.posterior.sample(samples, generator).float() for problem in problems]
    yield from _scores(law, "exact", 0, problems, again)
    known = torch.stack([problem.known for problem in problems]).repeat_interleave(samples, 0)
    keep_mask = torch.stack([problem.keep_mask for problem in problems]).repeat_interleave(samples, 0)
    for name, sampler in samplers.items():
        report(f"law {law}: {name}, {sampler.nfe} evaluations of {len(known)} pictures")
        restored = restore(sampler, prior, known, keep_mask, seed)
        holes = [problem.hole(restored[i * samples : (i + 1) * samples]) for i, problem in enumerate(problems)]
        yield from _scores(law, name, sampler.nfe, problems, holes)


def _scores(law: str, name: str, nfe: int, problems: Sequence[Problem], holes: Sequence[Tensor]) -> Iterable[Score]:
    for metric in METRICS:
        by_mask: dict[str, list[Tensor]] = {}
        for problem, x in zip(problems, holes, strict=True):
            match metric.name:
                case "energy_distance":
                    value = torch.tensor(energy_distance(x, problem.exact))
                case "mode_distance":
                    value = torch.tensor(mode_distance(x, problem.posterior))
                case _:
                    value = variances(x, problem.posterior)
            by_mask.setdefault(problem.mask, []).append(value)
        yield from summarise(f"law {law}", name, nfe, metric.name, {m: torch.stack(v) for m, v in by_mask.items()})
