"""float32 on a GPU is float32, whatever a caller has chosen, and the caller's choice comes back."""

from collections.abc import Iterator

import pytest
import torch

from repaint_batch.sampler.arithmetic import exact_arithmetic


def chosen() -> tuple[bool, bool, bool, bool]:
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    return cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark, cudnn.deterministic


@pytest.fixture
def faster() -> Iterator[None]:
    """A caller who wants speed."""
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
    products, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, True
    yield
    torch.backends.cudnn.benchmark, torch.backends.cuda.matmul.allow_tf32 = before, products


@pytest.mark.usefixtures("faster")
def test_nothing_is_rounded_behind_anybodys_back_and_choices_come_back() -> None:
    before = chosen()
    with exact_arithmetic():
        assert chosen() == (False, False, False, True)
    assert chosen() == before != (False, False, False, True)
