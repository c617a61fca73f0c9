"""An evaluation written down: JSON and CSV with every figure, one page with tables and speed-quality plots."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from repaint_batch.evaluate import oracle, precision, prints, restored
from repaint_batch.evaluate.laws import ABOUT
from repaint_batch.evaluate.scores import EVERY_MASK, Metric, Score
from repaint_batch.sampler.sampler import Sampler

_PARTS: dict[str, tuple[str, str, Sequence[Metric]]] = {
    **{f"law {law}": (f"Against an exact posterior: {law}", about, oracle.METRICS) for law, about in ABOUT.items()},
    "pictures": (
        "On a trained prior and pictures it has not seen",
        "Features are those available offline, so distances between sets compare rows of this table alone.",
        restored.METRICS,
    ),
    "prints": (
        "Against what a user would pick instead",
        "Held-out photographs, damaged as prints are. Rivals know the picture alone and need no network evaluation.",
        prints.METRICS,
    ),
    "precision": (
        "What compilation and lower precision change",
        "The preset fast with the same noise, beside the network as it is written, in float32.",
        precision.METRICS,
    ),
}
_ARROWS = {"low": "↓", "high": "↑", "one": "→1"}


@dataclass(frozen=True)
class Sheet:
    """A picture of restorations beside the page.

    Attributes:
        name: of the mask.
        file: beside the page.
        rows: what its rows are.
    """

    name: str
    file: str
    rows: str


def write_evaluation(
    folder: Path,
    scores: Sequence[Score],
    samplers: Mapping[str, Sampler],
    settings: Mapping[str, Any],
    sheets: Sequence[Sheet] = (),
) -> None:
    """Write ``evaluation.json``, ``.csv``, ``.html`` and, where matplotlib is there, a ``.svg`` for every part into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    described = {name: {"nfe": sampler.nfe, "settings": sampler.describe()} for name, sampler in samplers.items()}
    rows = [_finite(asdict(score)) for score in scores]
    document = {"settings": dict(settings), "samplers": described, "scores": rows}
    (folder / "evaluation.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    with open(folder / "evaluation.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [column.name for column in fields(Score)])
        writer.writeheader()
        writer.writerows(rows)
    parts = []
    for name, (title, about, metrics) in _PARTS.items():
        mine = [score for score in scores if score.part == name]
        if mine:
            present = [metric for metric in metrics if any(score.metric == metric.name for score in mine)]
            part = _part(title, about, mine, present)
            if find_spec("matplotlib"):
                svg = speed_quality_plot(mine, present)
                (folder / f"{name.replace(' ', '-')}.svg").write_text(svg, encoding="utf-8")
                part["plot"] = Markup(svg[svg.index("<svg") :])
            parts.append(part)
    text = (files("repaint_batch") / "assets" / "evaluation.html").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True).from_string(text)
    page = template.render(
        made=f"{len(scores)} figures, {len(samplers)} samplers",
        parts=parts,
        arrows=_ARROWS,
        sheets=[asdict(sheet) for sheet in sheets],
        samplers={name: value | {"settings": json.dumps(value["settings"])} for name, value in described.items()},
        settings=json.dumps(dict(settings)),
    )
    (folder / "evaluation.html").write_text(page, encoding="utf-8")


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}


def _part(title: str, about: str, scores: Sequence[Score], metrics: Sequence[Metric]) -> dict[str, Any]:
    found = {(score.sampler, score.mask, score.metric): score for score in scores}
    samplers = {score.sampler: score.nfe for score in scores}
    masks = list(dict.fromkeys(score.mask for score in scores if score.mask != EVERY_MASK))

    def cell(sampler: str, mask: str, metric: str) -> dict[str, str] | None:
        score = found.get((sampler, mask, metric))
        return None if score is None else {key: f"{getattr(score, key):.4g}" for key in ("value", "low", "high")}

    rows = [
        {"sampler": sampler, "nfe": nfe, "cells": [cell(sampler, EVERY_MASK, metric.name) for metric in metrics]}
        for sampler, nfe in samplers.items()
    ]
    by_mask = [
        {
            "metric": metric,
            "masks": masks,
            "rows": [
                {"sampler": sampler, "cells": [cell(sampler, mask, metric.name) for mask in masks]} for sampler in samplers
            ],
        }
        for metric in metrics
    ]
    return {"title": title, "about": about, "metrics": metrics, "rows": rows, "by_mask": by_mask}


def speed_quality_plot(scores: Sequence[Score], metrics: Sequence[Metric]) -> str:
    """Return an SVG: network evaluations against each of `metrics`, mean of all masks with its interval."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    columns = min(3, len(metrics))
    rows = math.ceil(len(metrics) / columns)
    figure = Figure(figsize=(4.2 * columns, 3.1 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(metrics) :]:
        axis.set_axis_off()
    for axis, metric in zip(axes, metrics, strict=False):
        for score in scores:
            if score.metric != metric.name or score.mask != EVERY_MASK:
                continue
            if score.nfe == 0:
                axis.axhline(score.value, color="0.6", linewidth=1, linestyle=":")
                continue
            # A bootstrap interval need not hold its statistic when there are few pictures.
            error = [[max(0, score.value - score.low)], [max(0, score.high - score.value)]]
            axis.errorbar([score.nfe], [score.value], yerr=error, marker="o", markersize=4, linewidth=1)
            axis.annotate(score.sampler, (score.nfe, score.value), (4, 3), textcoords="offset points", fontsize=7)
        axis.set_xscale("log")
        axis.set_xlabel("network evaluations", fontsize=8)
        axis.set_title(f"{metric.title} {_ARROWS[metric.best]}", fontsize=9)
        axis.tick_params(labelsize=7)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    return buffer.getvalue()
