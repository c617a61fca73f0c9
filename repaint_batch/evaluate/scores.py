"""What an evaluation finds: one row for every part, sampler, mask and metric."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from repaint_batch.evaluate.metrics import bootstrap

EVERY_MASK = "all"


@dataclass(frozen=True)
class Metric:
    """How a score is read.

    Attributes:
        name: in the records.
        title: in the table.
        best: "low" or "high", or "one" where 1 is right and both sides are wrong.
        about: one sentence.
    """

    name: str
    title: str
    best: str
    about: str


@dataclass(frozen=True)
class Score:
    """One figure.

    Attributes:
        part: "oracle", "pictures", "prints" or "precision".
        sampler: its name; of "precision", that of the engine.
        nfe: network evaluations of it.
        mask: of the paper's six, a kind of damage, or "all" for their mean.
        metric: name of a `Metric`.
        value: the figure.
        low: of the 95 % interval.
        high: of the 95 % interval.
        count: pictures (or seeds, where a metric compares sets) behind it.
    """

    part: str
    sampler: str
    nfe: int
    mask: str
    metric: str
    value: float
    low: float
    high: float
    count: int


def summarise(part: str, sampler: str, nfe: int, metric: str, by_mask: Mapping[str, Tensor]) -> Iterable[Score]:
    """Yield the score of every mask and that over all of them.

    Args:
        part, sampler, nfe, metric: as in `Score`.
        by_mask: for every mask (N,) values of N pictures, or (N, 2) whose quotient of means is the score. The pictures
            are the same under every mask, so that the overall interval resamples pictures, not single values.
    """
    for mask, values in by_mask.items():
        yield Score(part, sampler, nfe, mask, metric, *bootstrap(values), len(values))
    overall = torch.stack(list(by_mask.values())).mean(0)
    yield Score(part, sampler, nfe, EVERY_MASK, metric, *bootstrap(overall), len(overall))
