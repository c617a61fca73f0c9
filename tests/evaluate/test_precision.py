"""What another way to run the network changes: nothing where it is the same, much where weights differ."""

import torch

from repaint_batch.evaluate.precision import METRICS, evaluate_precision
from repaint_batch.evaluate.restored import PictureRun
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.sampler.langevin import AnnealedLangevin

from ..tiny_networks import TINY_PX, prior_of, tiny_unet


def run_of(prior: LoadedPrior) -> PictureRun:
    pictures = torch.rand((10, 3, TINY_PX, TINY_PX), generator=torch.Generator().manual_seed(0)) * 2 - 1
    return PictureRun(prior, [str(i) for i in range(10)], pictures, masks=("half", "wide"), batch_windows=4)


def test_the_same_network_changes_nothing_and_a_coarser_one_something() -> None:
    run = run_of(prior_of(tiny_unet()))
    coarse = prior_of(tiny_unet())
    coarse.network.to(torch.bfloat16)
    engines = {"same": lambda: prior_of(tiny_unet()), "bfloat16": lambda: coarse}
    scores = list(evaluate_precision(engines, run, AnnealedLangevin(4)))
    assert {score.metric for score in scores} == {metric.name for metric in METRICS}
    assert {score.count for score in scores} == {8}
    found = {(score.sampler, score.metric): score for score in scores if score.mask == "all"}
    assert [found["same", metric.name].value for metric in METRICS] == [0, 0, 0]
    assert 0 < found["bfloat16", "levels"].value < 30
    assert 0 < found["bfloat16", "changed"].value <= 1
    assert found["bfloat16", "psnr_loss"].low <= found["bfloat16", "psnr_loss"].high
