"""How a GPU computes in float32, where torch leaves a choice."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Within it CUDA's float32 is float32, and its convolutions take one algorithm every time.

    By torch's defaults convolutions round their inputs to the 10 bits of TF32 and matrix products do not, and a caller's own
    settings may differ from both, as may algorithms that were chosen by trying. None of it would show in a job's fingerprint,
    so there is no choice: who wants speed asks for bfloat16, by name.
    """
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark, cudnn.deterministic
    cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark, cudnn.deterministic = False, False, False, True
    try:
        yield
    finally:
        cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark, cudnn.deterministic = before
