"""guided-diffusion UNets as diffusers networks: equal in what they compute, or refused."""

import pytest
import torch

from repaint_batch.errors import PriorError
from repaint_batch.priors.convert import to_unet2d
from repaint_batch.priors.guided_diffusion import GuidedUNet

from ..golden_vectors import recorded_network


def assert_equal_outputs(network: GuidedUNet) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 16, 24, generator=generator)
    t = torch.tensor([3, 777])
    labels = torch.tensor([1, 4]) if network.config.num_classes else None
    with torch.inference_mode():
        ours = network(x, t, labels).sample
        theirs = to_unet2d(network)(x, t, class_labels=labels).sample
    assert ours.std() > 0.01
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)


@pytest.mark.parametrize("classes", [None, 5])
@pytest.mark.parametrize("new_order", [False, True])
@pytest.mark.parametrize("scale_shift", [False, True])
@pytest.mark.parametrize("updown", [False, True])
def test_the_converted_network_computes_the_same(updown: bool, scale_shift: bool, new_order: bool, classes: int | None) -> None:
    torch.manual_seed(0)
    network = GuidedUNet(
        sample_size=16,
        in_channels=3,
        out_channels=6,
        model_channels=32,
        channel_mult=(1, 2, 2),
        num_res_blocks=2 if updown else 1,
        attention_resolutions=(1, 4) if scale_shift else (2,),
        num_head_channels=16,
        num_classes=classes,
        use_scale_shift_norm=scale_shift,
        resblock_updown=updown,
        use_new_attention_order=new_order,
    ).eval()
    assert_equal_outputs(network)


def test_a_recorded_network_computes_the_same() -> None:
    network = recorded_network("unet_a")
    assert_equal_outputs(network)
    converted = to_unet2d(network)
    shared = {tensor.data_ptr() for tensor in network.state_dict().values()}
    assert converted.conv_in.weight.data_ptr() in shared, "weights are not copied where they need not change"


def test_the_published_layout_converts_with_heads_of_one_size() -> None:
    with torch.device("meta"):
        network = GuidedUNet(256, 3, 6, 256, (1, 1, 2, 2, 4, 4), 2, (8, 16, 32), 4, 64, 1000, True, True, False)
    assert to_unet2d(network).config.attention_head_dim == 64


def test_what_diffusers_cannot_represent_is_refused_with_the_reason() -> None:
    with pytest.raises(PriorError, match=r"heads of one size, here they have \[16, 32\] channels"):
        to_unet2d(recorded_network("unet_b"))
    narrow = GuidedUNet(64, 3, 3, 64, (0.5, 1), 1, (2,), num_head_channels=32)
    with pytest.raises(PriorError, match="as wide as its first level, here 2 times that"):
        to_unet2d(narrow)
