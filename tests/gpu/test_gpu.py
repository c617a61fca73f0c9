"""The checks of `python -m tests.gpu`, one by one."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from . import checks
from .parts import Found, Setting

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

Check = Callable[[Setting], Iterator[Found]]
CHECKS: tuple[Check, ...] = (
    checks.noise,
    checks.golden,
    checks.independence,
    checks.independence_compiled,
    checks.no_waits,
    checks.memory,
    checks.auto_batch,
    checks.neighbours,
    checks.second_device,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_on_a_gpu(check: Check, tmp_path: Path) -> None:
    setting = Setting(torch.device("cuda:0"), False, True, tmp_path, time.time() + 600)
    found = list(check(setting))
    if found[0].name == "left out":
        pytest.skip(str(found[0].value))
    assert not [one for one in found if one.ok is False]
