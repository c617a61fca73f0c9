"""Architectures read off names and shapes."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.errors import ConfigError, PriorError
from repaint_batch.priors.architecture import GuidedCard, build_network, is_guided_diffusion
from repaint_batch.priors.guided_diffusion import GuidedClassifier, GuidedUNet

from ..golden_vectors import hidden_card, read_json, recorded_network

PUBLISHED = [(entry, checkpoint) for entry in read_json("official_checkpoint_shapes.json") for checkpoint in entry.split(" / ")]
PARAMETERS = {
    "celeba256_250000": 552.8e6,
    "places256_300000": 552.8e6,
    "256x256_diffusion": 553.8e6,
    "256x256_classifier": 54.1e6,
}


def shapes_of(network: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize(("entry", "checkpoint"), PUBLISHED)
def test_published_checkpoints_match_in_every_name_and_shape(entry: str, checkpoint: str) -> None:
    recorded = {name: tuple(shape) for name, shape in read_json("official_checkpoint_shapes.json")[entry].items()}
    network = build_network(recorded, GuidedCard(), checkpoint)
    assert shapes_of(network) == recorded
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"meta"}
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert parameters == pytest.approx(PARAMETERS[checkpoint.split(" ")[0]], rel=1e-3)
    assert isinstance(network, GuidedClassifier if "classifier" in checkpoint else GuidedUNet)
    assert network.config.sample_size == 256
    assert network.config.num_head_channels == 64
    assert not network.config.use_new_attention_order


def test_four_checkpoints_were_published() -> None:
    assert len(PUBLISHED) == 4


@pytest.mark.parametrize("name", ["unet_a", "unet_b", "classifier_c"])
def test_recorded_settings_are_found_again(name: str) -> None:
    network = recorded_network(name)
    found = build_network(shapes_of(network), GuidedCard(**hidden_card(name)), name)
    for key, value in read_json("configs.json")[name].items():
        if key == "pool":
            continue
        actual = found.config["sample_size" if key == "image_size" else key]
        assert (list(actual) if isinstance(value, list) else actual) == value, key


@given(
    channel_mult=st.lists(st.sampled_from([1, 2]), min_size=1, max_size=4),
    num_res_blocks=st.integers(1, 3),
    attends=st.sets(st.integers(0, 3)),
    classes=st.none() | st.integers(1, 5),
    learned=st.booleans(),
    scale_shift=st.booleans(),
    updown=st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_every_setting_that_shows_is_read_back(
    channel_mult: list[int],
    num_res_blocks: int,
    attends: set[int],
    classes: int | None,
    learned: bool,
    scale_shift: bool,
    updown: bool,
) -> None:
    levels = len(channel_mult)
    made: dict[str, Any] = {
        "sample_size": 32,
        "in_channels": 3,
        "out_channels": 6 if learned else 3,
        "model_channels": 32,
        "channel_mult": tuple(channel_mult),
        "num_res_blocks": num_res_blocks,
        "attention_resolutions": tuple(2**level for level in range(levels) if level in attends),
        "num_head_channels": 8,
        "num_classes": classes,
        "use_scale_shift_norm": scale_shift,
        "resblock_updown": updown and levels > 1,
    }
    with torch.device("meta"):
        network = GuidedUNet(**made)
    found = build_network(shapes_of(network), GuidedCard(image_size=32, num_head_channels=8), "a network")
    assert {key: found.config[key] for key in made} == made


def test_a_classifier_whose_levels_could_be_cut_two_ways_needs_its_card() -> None:
    # Without attention or a change of width nothing tells two levels of one block from one level of three.
    settings = {"sample_size": 8, "in_channels": 3, "out_channels": 4, "model_channels": 32, "num_head_channels": 32}
    with torch.device("meta"):
        network = GuidedClassifier(
            **settings, channel_mult=(1, 1), num_res_blocks=1, attention_resolutions=(), resblock_updown=True
        )
    with pytest.raises(PriorError, match="num_res_blocks"):
        build_network(shapes_of(network), GuidedCard(num_head_channels=32), "a classifier")
    found = build_network(shapes_of(network), GuidedCard(num_head_channels=32, num_res_blocks=1), "a classifier")
    assert (found.config.channel_mult, found.config.sample_size) == ((1, 1), 8)


@pytest.mark.parametrize("key", ["output_blocks.1.1.qkv.bias", "time_embed.0.weight", "input_blocks.3.0.in_layers.0.weight"])
def test_a_missing_key_is_named(key: str) -> None:
    shapes = shapes_of(recorded_network("unet_a"))
    del shapes[key]
    with pytest.raises(PriorError, match=f"model.pt.*missing.*{key}"):
        build_network(shapes, GuidedCard(**hidden_card("unet_a")), "model.pt")


def test_an_extra_key_and_a_wrong_shape_are_named() -> None:
    shapes = shapes_of(recorded_network("unet_a"))
    card = GuidedCard(**hidden_card("unet_a"))
    with pytest.raises(PriorError, match=r"1 names do not fit.*unexpected output_blocks\.9\.extra"):
        build_network({**shapes, "output_blocks.9.extra": (1,)}, card, "model.pt")
    with pytest.raises(PriorError, match=r"time_embed\.2\.bias is \[7\], not \[128\]"):
        build_network({**shapes, "time_embed.2.bias": (7,)}, card, "model.pt")


def test_what_the_weights_do_not_tell_is_never_guessed() -> None:
    shapes = shapes_of(recorded_network("unet_b"))
    with pytest.raises(PriorError, match="num_head_channels or num_heads, and use_new_attention_order"):
        build_network(shapes, GuidedCard(), "model.pt")
    with pytest.raises(PriorError, match="image_size"):
        build_network(shapes, GuidedCard(num_heads=2), "model.pt")
    with pytest.raises(PriorError, match="cannot be split into heads"):
        build_network(shapes, GuidedCard(image_size=32, num_head_channels=48), "model.pt")


@pytest.mark.parametrize(
    "wrong",
    [{"learn_sigma": False}, {"class_cond": True}, {"num_res_blocks": 2}, {"channel_mult": (1, 1)}, {"resblock_updown": False}],
)
def test_a_card_that_contradicts_the_weights_is_refused(wrong: dict[str, Any]) -> None:
    shapes = shapes_of(recorded_network("unet_a"))
    with pytest.raises(PriorError, match=f"card says {next(iter(wrong))}"):
        build_network(shapes, GuidedCard(**hidden_card("unet_a"), **wrong), "model.pt")


def test_a_card_with_an_unknown_word_is_refused() -> None:
    from repaint_batch.config import parse_config

    with pytest.raises(ConfigError, match="num_head_chanels: unknown key"):
        parse_config({"num_head_chanels": 64}, GuidedCard, "model.json")


def test_other_state_dicts_are_told_apart() -> None:
    assert is_guided_diffusion(shapes_of(recorded_network("classifier_c")))
    assert not is_guided_diffusion(["conv_in.weight", "down_blocks.0.resnets.0.norm1.weight"])
