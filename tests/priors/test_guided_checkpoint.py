"""Checkpoint files: what is read, and what is refused."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from repaint_batch.config import PriorConfig
from repaint_batch.errors import PriorError
from repaint_batch.priors.architecture import GuidedCard
from repaint_batch.priors.guided_checkpoint import checkpoint_file, read_guided_checkpoint, read_state_dict, scheduler_of
from repaint_batch.priors.load import load_prior
from repaint_batch.priors.process import Process
from repaint_batch.sampler.schedule import NoiseSchedule
from repaint_batch.storage import Storage

from ..golden_vectors import copy_checkpoint, recorded_network


class Bomb:
    """Unpickled without care, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def as_pickle(path: Path) -> Path:
    """Write the tensors of a safetensors file as a .pt beside it."""
    torch.save(load_file(path), path.with_suffix(".pt"))
    return path.with_suffix(".pt")


@pytest.mark.parametrize("name", ["unet_a", "unet_b"])
def test_safetensors_and_pickle_give_the_recorded_network(name: str, tmp_path: Path) -> None:
    safe = copy_checkpoint(name, tmp_path)
    expected = recorded_network(name).state_dict()
    for path in (safe, as_pickle(safe)):
        network, scheduler = read_guided_checkpoint(path, allow_pickle=True)
        assert not network.training
        assert scheduler.config.variance_type == "learned_range"
        state = network.state_dict()
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[key], expected[key]) for key in expected)


def test_a_pickle_is_read_only_where_the_owner_allows_it(tmp_path: Path) -> None:
    pickled = as_pickle(copy_checkpoint("unet_a", tmp_path))
    with pytest.raises(PriorError, match=r"unet_a\.pt: a pickle.*allow_pickle"):
        load_prior(PriorConfig(source=str(pickled)), Storage())
    prior = load_prior(PriorConfig(source=str(pickled), allow_pickle=True), Storage())
    assert prior.resolution_px == 32


@pytest.mark.parametrize("suffix", [".pt", ".bin"])
def test_code_in_a_pickle_is_refused_and_never_run(suffix: str, tmp_path: Path) -> None:
    path, crater = tmp_path / f"model{suffix}", tmp_path / "crater"
    torch.save({"time_embed.0.weight": torch.zeros(1), "input_blocks.0.0.weight": Bomb(crater)}, path)
    with pytest.raises(PriorError, match="holds code or objects besides tensors and is refused"):
        load_prior(PriorConfig(source=str(path), allow_pickle=True), Storage())
    assert not crater.exists()
    torch.load(path, weights_only=False)
    assert crater.exists(), "the pickle would have run its code"


def test_what_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "epoch": 3}, path)
    with pytest.raises(PriorError, match="found state_dict, epoch"):
        read_state_dict(path, allow_pickle=True)
    torch.save(torch.zeros(1), path)
    with pytest.raises(PriorError, match="found Tensor"):
        read_state_dict(path, allow_pickle=True)
    for broken in (path, tmp_path / "model.safetensors"):
        broken.write_bytes(b"nothing of the kind")
        with pytest.raises(PriorError, match=broken.name):
            read_state_dict(broken, allow_pickle=True)
    with pytest.raises(PriorError, match=r"ends in \.safetensors"):
        read_state_dict(tmp_path / "model.ckpt", allow_pickle=True)


def test_other_networks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"conv_in.weight": torch.zeros(1), "conv_in.bias": torch.zeros(1)}, path)
    with pytest.raises(PriorError, match=r"conv_in.* are not the names of guided-diffusion"):
        read_guided_checkpoint(path)


def test_missing_and_extra_keys_of_a_file_are_named(tmp_path: Path) -> None:
    path = copy_checkpoint("unet_a", tmp_path)
    state = load_file(path)
    bias = state.pop("middle_block.1.proj_out.bias")
    save_file(state, path)
    with pytest.raises(PriorError, match=r"unet_a.*missing middle_block\.1\.proj_out\.bias"):
        load_prior(PriorConfig(source=str(path)), Storage())
    save_file(state | {"middle_block.1.proj_out.bias": bias, "ema.decay": torch.zeros(1)}, path)
    with pytest.raises(PriorError, match=r"unexpected ema\.decay"):
        load_prior(PriorConfig(source=str(path)), Storage())


def test_weights_come_in_the_precision_that_is_asked_for(tmp_path: Path) -> None:
    path = copy_checkpoint("unet_a", tmp_path)
    save_file({key: value.half() for key, value in load_file(path).items()}, path)
    network, _ = read_guided_checkpoint(path)
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}
    network, _ = read_guided_checkpoint(path, dtype=torch.bfloat16)
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.bfloat16}


def test_a_folder_of_one_checkpoint_is_enough(tmp_path: Path) -> None:
    path = copy_checkpoint("unet_a", tmp_path)
    assert checkpoint_file(tmp_path) == path
    as_pickle(path)
    assert checkpoint_file(tmp_path) == path, "safetensors come first"
    copy_checkpoint("unet_b", tmp_path)
    with pytest.raises(PriorError, match="2 checkpoints"):
        checkpoint_file(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(PriorError, match="neither a diffusers folder"):
        checkpoint_file(empty)


def test_a_broken_card_is_refused(tmp_path: Path) -> None:
    path = copy_checkpoint("unet_a", tmp_path)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(PriorError, match=r"unet_a\.json: cannot be read as JSON"):
        read_guided_checkpoint(path)


def test_cards_say_what_the_network_was_trained_with() -> None:
    def process(**card: Any) -> Process:
        return Process.from_scheduler(scheduler_of(GuidedCard(**card), learned=card.pop("learn_sigma", False)).config, "card")

    published = process(learn_sigma=True)
    torch.testing.assert_close(published.schedule.betas, NoiseSchedule.linear().betas, rtol=1e-5, atol=0)
    assert (published.prediction, published.variance) == ("epsilon", "learned_range")
    assert process().variance == "fixed_large"
    assert process(sigma_small=True).variance == "fixed_small"
    assert process(predict_xstart=True).prediction == "sample"
    # Stretched so that any number of steps ends equally noisy.
    short = process(diffusion_steps=250).schedule
    assert len(short) == 250
    assert float(short.alpha_bar[-1]) == pytest.approx(float(published.schedule.alpha_bar[-1]), rel=0.25)
    # Nichol and Dhariwal 2021, eq. 17.
    cosine = process(noise_schedule="cosine").schedule
    u = (torch.arange(1, 990, dtype=torch.float64) / 1000 + 0.008) / 1.008 * torch.pi / 2
    expected = u.cos() ** 2 / torch.cos(torch.tensor(0.008 / 1.008 * torch.pi / 2, dtype=torch.float64)) ** 2
    torch.testing.assert_close(cosine.alpha_bar[:989], expected, rtol=1e-3, atol=0)


def test_unknown_settings_of_a_card_name_its_file(tmp_path: Path) -> None:
    path = copy_checkpoint("unet_a", tmp_path, card={"heads": 4})
    with pytest.raises(Exception, match=r"unet_a\.json: heads: unknown key") as caught:
        load_prior(PriorConfig(source=str(path)), Storage())
    assert json.loads(path.with_suffix(".json").read_text()) == {"heads": 4}
    assert caught.type.__name__ == "ConfigError"
