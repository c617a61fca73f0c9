"""The reference of the package, made from its docstrings by pdoc."""

import inspect
import re
import warnings
from pathlib import Path

import pytest

import repaint_batch

from .reference import write

CALLS = {
    "inpaint": repaint_batch.inpaint,
    "replay": repaint_batch.replay,
    "RePaintPipeline": repaint_batch.RePaintPipeline,
    "RePaintPipeline.restore": repaint_batch.RePaintPipeline.restore,
    "RePaintPipeline.__call__": repaint_batch.RePaintPipeline.__call__,
    "RePaintPipeline.from_prior": repaint_batch.RePaintPipeline.from_prior,
    "RePaintPipeline.from_pretrained": repaint_batch.RePaintPipeline.from_pretrained,
    "RePaintPipeline.from_pipe": repaint_batch.RePaintPipeline.from_pipe,
}


def test_it_is_made_without_a_warning_and_has_every_public_name(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = write(tmp_path).read_text(encoding="utf-8")
    assert set(re.findall(r'id="([\w.]+)"', page)) >= {*repaint_batch.__all__, *CALLS}


@pytest.mark.parametrize("name", CALLS)
def test_docstrings_say_what_goes_in(name: str) -> None:
    text = inspect.getdoc(CALLS[name]) or ""
    parameters = set(inspect.signature(CALLS[name]).parameters) - {"self", "args", "kwargs"}
    assert len(parameters) < 2 or all(re.search(rf"[`,]?{one}[`,:]", text) for one in parameters)


@pytest.mark.parametrize("name", ["inpaint", "replay", "RePaintPipeline.restore", "RePaintPipeline.__call__"])
def test_docstrings_of_what_restores_say_shapes_and_errors(name: str) -> None:
    text = inspect.getdoc(CALLS[name]) or ""
    assert "Raises:" in text
    assert name == "replay" or re.search(r"\([BNH], ", text)
