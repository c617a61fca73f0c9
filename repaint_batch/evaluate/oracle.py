"""The oracle part: samplers on a prior whose every conditional is known exactly.

The prior is a mixture of 24 Gaussians with full covariance in 64 dimensions, fitted to emoji shrunk to 8×8 grey pixels
(`fit_oracle`). Pictures are drawn from the mixture itself; for every mask each is restored many times, and the restorations
are held against exact samples of the posterior. No network is involved: what differs from the posterior is the sampler.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from repaint_batch.evaluate.masks import MASKS, MaskName, paper_mask
from repaint_batch.evaluate.metrics import energy_distance, mode_distance, variance_ratio
from repaint_batch.evaluate.scores import Metric, Score, summarise
from repaint_batch.priors.analytic import GaussianMixture, Mixture, fit_mixture
from repaint_batch.priors.pictures import PICTURE_SUFFIXES, flatten_on_white, held_out
from repaint_batch.sampler.noise import sample_key
from repaint_batch.sampler.run import sample
from repaint_batch.sampler.sampler import Sampler

METRICS = (
    Metric("energy_distance", "Energy distance", "low", "to exact samples of the posterior; 0 is exact"),
    Metric("mode_distance", "Mode error", "low", "total variation of the components chosen; few samples add to it"),
    Metric("variance_ratio", "Variance", "one", "of the restorations over that of the posterior; below 1 is too sure"),
)
_REFERENCE_SAMPLES = 1024
_SCALE = 0.6


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


def oracle_prior() -> GaussianMixture:
    """Return the mixture that comes with the package."""
    with as_file(files("repaint_batch") / "assets" / "oracle8.safetensors") as path:
        return GaussianMixture.load(path)


def fit_oracle(folder: str | Path) -> GaussianMixture:
    """Return the mixture fitted to the pictures in `folder`, those held out left aside; white becomes 0.6, black -0.6.

    The scale keeps the law inside [-1, 1]; the ridge and the pooled covariance keep several components likely under most
    masks, without which every sampler would find the one mode there is.
    """
    paths = [path for path in sorted(Path(folder).iterdir()) if path.suffix.lower() in PICTURE_SUFFIXES]
    rows = []
    for path in paths:
        if not held_out(path.name, 20):
            with Image.open(path) as image:
                grey = flatten_on_white(image).convert("L").resize((8, 8), Image.Resampling.LANCZOS)
            rows.append(np.asarray(grey, dtype=np.float32).reshape(-1) / 127.5 - 1)
    vectors = torch.from_numpy(np.stack(rows)) * _SCALE
    return GaussianMixture.of(fit_mixture(vectors, 24, floor=0.006, shrink=0.3), (1, 8, 8))


def oracle_problems(prior: GaussianMixture, masks: Sequence[MaskName], pictures: int, seed: int = 0) -> list[Problem]:
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


def evaluate_oracle(
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
        samplers: by name.
        pictures: draws of the prior; intervals resample them.
        samples: restorations of each picture under each mask.
        prior: by default the one that comes with the package.
        masks: of the paper's.
        seed: of pictures and noise.
        report: called with a line as each sampler starts.
    """
    prior = prior or oracle_prior()
    problems = oracle_problems(prior, masks, pictures, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    again = [problem.posterior.sample(samples, generator).float() for problem in problems]
    yield from _scores("exact", 0, problems, again)
    known = torch.stack([problem.known for problem in problems]).repeat_interleave(samples, 0)
    keep_mask = torch.stack([problem.keep_mask for problem in problems]).repeat_interleave(samples, 0)
    keys = [sample_key(seed, f"{problem.mask}-{problem.picture}", n) for problem in problems for n in range(samples)]
    for name, sampler in samplers.items():
        report(f"oracle: {name}, {sampler.nfe} evaluations of {len(keys)} pictures")
        restored = sample(sampler, prior, known, keep_mask, keys)
        holes = [problem.hole(restored[i * samples : (i + 1) * samples]) for i, problem in enumerate(problems)]
        yield from _scores(name, sampler.nfe, problems, holes)


def _scores(name: str, nfe: int, problems: Sequence[Problem], holes: Sequence[Tensor]) -> Iterable[Score]:
    for metric in METRICS:
        by_mask: dict[str, list[float]] = {}
        for problem, x in zip(problems, holes, strict=True):
            match metric.name:
                case "energy_distance":
                    value = energy_distance(x, problem.exact)
                case "mode_distance":
                    value = mode_distance(x, problem.posterior)
                case _:
                    value = variance_ratio(x, problem.posterior)
            by_mask.setdefault(problem.mask, []).append(value)
        yield from summarise("oracle", name, nfe, metric.name, {m: torch.tensor(v) for m, v in by_mask.items()})
