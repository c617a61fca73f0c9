"""What a faster way to run the network changes in the pictures: the same noise, beside float32 as it is written.

Compilation and lower precision round differently, and a chain of sixty evaluations carries that on. The restorations differ
as far as rounding was amplified; whether they are worse is the difference in PSNR, which should be none within its interval.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from repaint_batch.evaluate import metrics
from repaint_batch.evaluate.restored import PictureRun
from repaint_batch.evaluate.scores import Metric, Score, summarise
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.sampler.sampler import Sampler

METRICS = (
    Metric("levels", "Difference, levels", "low", "RMS over the hole to float32, in grey levels of 255"),
    Metric("changed", "Changed", "low", "share of the hole's samples that differ from float32's once they have 8 bits"),
    Metric("psnr_loss", "PSNR lost, dB", "low", "hole PSNR of float32 less its own; 0 within the interval: no worse"),
)
_PICTURES = 8


def evaluate_precision(
    engines: Mapping[str, Callable[[], LoadedPrior]],
    run: PictureRun,
    sampler: Sampler,
    *,
    report: Callable[[str], None] = lambda line: None,
) -> Iterable[Score]:
    """Yield how far each engine's restorations are from those of `run.prior`, for at most eight pictures.

    Args:
        engines: what loads the same prior run in another way, by name.
        run: pictures, masks and the prior in float32; one seed of it is used.
        sampler: what both are sampled with.
        report: told what is under way.
    """
    few = replace(run, names=run.names[:_PICTURES], pictures=run.pictures[:_PICTURES])
    report(f"precision: float32, {sampler.nfe} evaluations")
    base = {mask: few.restore(sampler, mask)[0] for mask in run.masks}
    for name, load in engines.items():
        report(f"precision: {name}")
        other = replace(few, prior=load())
        values: dict[str, dict[str, Tensor]] = {}
        for mask in run.masks:
            found = _differences(other.restore(sampler, mask)[0], base[mask], few.pictures, few.keep_masks(mask))
            for metric, differences in found.items():
                values.setdefault(metric, {})[mask] = differences
        for metric, by_mask in values.items():
            yield from summarise("precision", name, sampler.nfe, metric, by_mask)


def _differences(mine: Tensor, base: Tensor, truth: Tensor, keep_mask: Tensor) -> dict[str, Tensor]:
    """Return (N,) values of every metric."""
    hole = (~keep_mask).expand_as(base)
    eight_bits = [((x + 1) * 127.5).round() for x in (mine, base)]
    changed = ((eight_bits[0] != eight_bits[1]) & hole).sum((1, 2, 3)) / hole.sum((1, 2, 3))
    return {
        "levels": 127.5 * metrics.pair_distance(mine, base, keep_mask),
        "changed": changed.to(torch.float32),
        "psnr_loss": metrics.hole_psnr(base, truth, keep_mask) - metrics.hole_psnr(mine, truth, keep_mask),
    }
