"""Parts of the guided-diffusion networks against what they are defined by; whole networks are in tests/sampler/test_golden."""

from typing import Any

import pytest
import torch
from diffusers.models.embeddings import get_timestep_embedding
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from repaint_batch.priors.guided_diffusion import GuidedUNet, attend, time_features


def attend_in_a_loop(qkv: Tensor, heads: int, legacy: bool) -> Tensor:
    """Attention as it is defined, head by head and query by query."""
    batch, width, length = qkv.shape
    size = width // 3 // heads
    out = torch.zeros(batch, width // 3, length)
    for head in range(heads):
        starts = [head * 3 * size + part * size if legacy else part * heads * size + head * size for part in range(3)]
        q, k, v = (qkv[:, start : start + size] for start in starts)
        for at in range(length):
            scores = (q[:, :, at, None] * k).sum(1) / size**0.5
            out[:, head * size : (head + 1) * size, at] = (torch.softmax(scores, -1)[:, None] * v).sum(-1)
    return out


@given(heads=st.integers(1, 3), size=st.integers(1, 4), length=st.integers(1, 5), legacy=st.booleans())
@settings(max_examples=25, deadline=None)
def test_attention_is_what_it_is_defined_as(heads: int, size: int, length: int, legacy: bool) -> None:
    qkv = torch.randn(2, 3 * heads * size, length, generator=torch.Generator().manual_seed(heads * 100 + size * 10 + length))
    torch.testing.assert_close(attend(qkv, heads, legacy), attend_in_a_loop(qkv, heads, legacy), rtol=1e-5, atol=1e-6)


class WatchAttention(TorchFunctionMode):
    """Notes the last stride of everything that torch's attention is given."""

    def __init__(self) -> None:
        super().__init__()
        self.strides: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            self.strides |= {one.stride(-1) for one in args}
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("legacy", [False, True])
def test_attention_hands_on_what_fast_kernels_take(legacy: bool) -> None:
    """Flash, memory-efficient and cuDNN attention all need channels side by side."""
    with WatchAttention() as watch:
        attend(torch.zeros(2, 3 * 2 * 4, 5), 2, legacy)
    assert watch.strides == {1}


@pytest.mark.parametrize("channels", [32, 7])
def test_time_features_are_those_of_diffusers(channels: int) -> None:
    t = torch.tensor([0, 1, 500, 999])
    theirs = get_timestep_embedding(t, channels, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(time_features(t, channels), theirs, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("updown", [False, True])
def test_any_size_that_halves_evenly_goes_through(updown: bool) -> None:
    network = GuidedUNet(
        sample_size=16,
        in_channels=1,
        out_channels=2,
        model_channels=32,
        channel_mult=(1, 2, 1),
        num_res_blocks=1,
        attention_resolutions=(4,),
        num_heads=1,
        resblock_updown=updown,
    )
    with torch.inference_mode():
        assert network(torch.zeros(2, 1, 8, 20), 7).sample.shape == (2, 2, 8, 20)
        assert network(torch.zeros(2, 1, 8, 20), torch.tensor([7, 7]), return_dict=False)[0].shape == (2, 2, 8, 20)


def test_a_class_conditional_network_needs_a_class() -> None:
    network = GuidedUNet(16, 1, 1, 32, (1,), 1, (), num_classes=3)
    with pytest.raises(ValueError, match="class_labels"):
        network(torch.zeros(1, 1, 8, 8), 0)
