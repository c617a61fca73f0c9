"""Training on somebody's own pictures: that a stopped run goes on, that what it logs is true, that its prior is usable."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from PIL import Image

from repaint_batch.config import PriorConfig
from repaint_batch.errors import ConfigError
from repaint_batch.inpainting.device import missing_compiler
from repaint_batch.priors.load import load_prior
from repaint_batch.priors.pictures import load_pictures
from repaint_batch.priors.train_config import CropConfig, NetworkConfig, TrainConfig
from repaint_batch.priors.training import LEVELS, Trainer, learning_rate_at
from repaint_batch.storage import Storage

TINY = NetworkConfig(block_out_channels=(8, 16), attention_px=(8,), attention_head_dim=8, norm_num_groups=4)


def config(pictures: Path, output: Path, **changes: object) -> TrainConfig:
    values: dict[str, object] = {
        "pictures": [str(pictures)],
        "output": str(output),
        "image_size_px": 16,
        "network": TINY,
        "steps": 6,
        "batch_size": 4,
        "checkpoint_every": 2,
    }
    return TrainConfig.model_validate({**values, **changes})


def test_a_killed_run_ends_where_an_uninterrupted_one_does(pictures: Path, tmp_path: Path) -> None:
    said: list[str] = []
    Trainer(config(pictures, tmp_path / "whole"), said.append).run()
    # Both halves must see the learning rates of the whole: stop after four of six steps as a kill would.
    killed = Trainer(config(pictures, tmp_path / "killed"), said.append)
    killed._advance(load_pictures(killed.config)[0], 4)
    del killed
    folder = Trainer(config(pictures, tmp_path / "killed"), said.append).run()
    assert any("going on from step 4" in line for line in said)
    whole, resumed = (
        load_prior(PriorConfig(source=str(tmp_path / name / "prior")), Storage()).network.state_dict()
        for name in ("whole", "killed")
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert (folder / "README.md").read_text().startswith("# prior\n")
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [2, 4, 6]
    assert all(entry["loss"] > 0 for entry in log)
    # Two steps of four pictures, one time from each quarter: some tenths of the time had none.
    for entry in log:
        seen = [loss for loss in entry["loss_by_level"] if loss > 0]
        assert len(entry["loss_by_level"]) == LEVELS
        assert 4 <= len(seen) <= 8
        assert len(entry["held_out_by_level"]) == LEVELS
        assert all(loss > 0 for loss in entry["held_out_by_level"])
    assert Image.open(tmp_path / "whole" / "samples-000006.png").size == (64, 64)


def test_the_loss_falls(pictures: Path, tmp_path: Path) -> None:
    settings = config(pictures, tmp_path, steps=60, learning_rate=3e-3, checkpoint_every=10)
    Trainer(settings, lambda line: None).run()
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.9 * losses[0]


def test_the_loss_on_held_out_pictures_is_that_of_the_exported_network(pictures: Path, tmp_path: Path) -> None:
    trainer = Trainer(config(pictures, tmp_path, steps=2, holdout_one_in=3), print)
    unseen, _ = load_pictures(trainer.config, "held-out")
    before = trainer._unseen_loss(unseen)
    assert before == trainer._unseen_loss(unseen), "always the same draws"
    assert all(0.5 < loss < 2 for loss in before), "an untrained network is about as far off as the noise is long"
    trainer.run()
    entry = json.loads((tmp_path / "log.jsonl").read_text())
    assert entry["held_out_by_level"] == trainer._unseen_loss(unseen) != before
    nothing = Trainer(config(pictures, tmp_path / "all", steps=2, holdout_one_in=None), print).run()
    assert json.loads((nothing.parent / "log.jsonl").read_text())["held_out_by_level"] is None


def test_a_run_of_some_minutes_leaves_a_prior_and_goes_on(pictures: Path, tmp_path: Path) -> None:
    short = config(pictures, tmp_path, steps=1000, checkpoint_every=1000, minutes=1e-6)
    first = Trainer(short, print)
    folder = first.run()
    assert 0 < first.step < 1000
    assert load_prior(PriorConfig(source=str(folder)), Storage()).resolution_px == 16
    second = Trainer(short, print)
    assert second.step == first.step
    second.run()
    assert second.step > first.step
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == [first.step, second.step]


def test_a_run_that_is_stopped_leaves_a_prior_and_says_where(pictures: Path, tmp_path: Path) -> None:
    said: list[str] = []
    trainer = Trainer(config(pictures, tmp_path, steps=1000, checkpoint_every=1000), said.append)
    trainer.stop()
    folder = trainer.run()
    assert trainer.step == 1
    assert load_prior(PriorConfig(source=str(folder)), Storage()).resolution_px == 16
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["prior"], "nothing half written"
    assert not list(tmp_path.glob("samples-*")), "nobody waits for what only judges it"
    assert Trainer(config(pictures, tmp_path, steps=1000), said.append).step == 1


@pytest.mark.slow
@pytest.mark.skipif(missing_compiler() is not None, reason="no C++ compiler")
def test_a_compiled_run_learns_what_an_uncompiled_one_does(pictures: Path, tmp_path: Path) -> None:
    weights = []
    for name in ("eager", "compiled"):
        trainer = Trainer(config(pictures, tmp_path / name, steps=2, compile=name == "compiled"), print)
        trainer.run()
        weights.append(torch.cat([value.flatten() for value in trainer.average.parameters()]))
        assert all(parameter.dtype == torch.float32 for parameter in trainer.network.parameters())
    started = torch.cat([value.flatten() for value in Trainer(config(pictures, tmp_path / "new"), print).network.parameters()])
    # bfloat16 rounds in another order once operations are fused.
    assert torch.nn.functional.cosine_similarity(weights[0] - started, weights[1] - started, dim=0) > 0.9


def test_the_card_says_what_was_trained_on_and_what_was_not(pictures: Path, tmp_path: Path) -> None:
    folder = Trainer(config(pictures, tmp_path, steps=2, held_out=("00", "01"), holdout_one_in=None, licence="CC0"), print).run()
    card = (folder / "README.md").read_text()
    assert "28 pictures" in card
    assert "Held out, never trained on: `00`, `01`" in card
    assert "Licences: CC0" in card
    assert str(tmp_path) not in card


class Exact(Trainer):
    precision = torch.float32


def train_shared(rank: int, workers: int, meeting: Path, settings: TrainConfig) -> None:
    """Be one of the workers of a run that is killed after three steps and goes on."""
    dist.init_process_group("gloo", init_method=meeting.as_uri(), rank=rank, world_size=workers)
    killed = Exact(settings, print)
    killed._advance(load_pictures(settings)[0], 3)
    dist.barrier()  # the first one has written
    assert Exact(settings, print).step == 3
    Exact(settings, print).run()
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_workers_with_half_a_batch_each_take_the_steps_of_one(pictures: Path, tmp_path: Path) -> None:
    # Attention's key bias has no gradient but its rounding, which Adam makes as large as any.
    network = TINY.model_copy(update={"attention_px": ()})
    alone, shared = (
        config(pictures, tmp_path / name, network=network, checkpoint_every=3, learning_rate=3e-4, workers=workers)
        for name, workers in (("alone", 1), ("shared", 2))
    )
    start = torch.cat([value.flatten() for value in Exact(alone, print).network.parameters()]).detach()
    Exact(alone, print).run()
    torch.multiprocessing.spawn(train_shared, (2, tmp_path / "meeting", shared), nprocs=2)
    ends = [torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("alone", "shared")]
    for part in ("network", "average"):
        one, two = (torch.cat([value.flatten() for value in end[part].values()]) for end in ends)
        assert (one - start).abs().median() > 5e-4, "the weights have moved"
        assert (one - two).abs().max() < 1e-5
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("alone", "shared")]
    for ours, theirs in zip(*([json.loads(line) for line in log] for log in logs), strict=True):
        assert ours["step"] == theirs["step"]
        for key in ("loss", "loss_by_level"):
            assert ours[key] == pytest.approx(theirs[key], abs=2e-4)


def test_a_checkpoint_of_the_first_edition_is_gone_on_from(pictures: Path, tmp_path: Path) -> None:
    trainer = Trainer(config(pictures, tmp_path, steps=2), print)
    trainer.run()
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    torch.save({**state, "identity": trainer._identity(but={"seed", "batch_size"})}, tmp_path / "checkpoint.pt")
    assert set(state) == {"identity", "step", "loss", "network", "average", "optimizer"}
    assert set(state["average"]) == set(state["network"]), "names without the prefix of what averages them"
    assert Trainer(config(pictures, tmp_path, steps=2), print).average.n_averaged == 2


def test_workers_have_equal_shares(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch_size: 4 pictures cannot be shared by 3 workers alike"):
        config(pictures, tmp_path, workers=3)


def test_another_training_does_not_go_on_from_this_checkpoint(pictures: Path, tmp_path: Path) -> None:
    Trainer(config(pictures, tmp_path, steps=2), lambda line: None).run()
    others: list[dict[str, object]] = [{"image_size_px": 32}, {"seed": 1}, {"batch_size": 8}, {"held_out": ["0*"]}]
    for changes in [*others, {"holdout_one_in": None}]:
        with pytest.raises(ConfigError, match="belongs to another training"):
            Trainer(config(pictures, tmp_path, **changes), lambda line: None)
    assert Trainer(config(pictures, tmp_path, steps=4), lambda line: None).step == 2, "a run may be made longer"


def test_training_on_from_a_prior_of_another_size(pictures: Path, tmp_path: Path) -> None:
    first = Trainer(config(pictures, tmp_path / "first"), print).run()
    larger = config(pictures, tmp_path / "second", init_from=str(first), image_size_px=32, crops=CropConfig(scales=(1.0,)))
    start = Trainer(larger, print)
    theirs = load_prior(PriorConfig(source=str(first)), Storage()).network.state_dict()
    for name, mine in start.network.named_parameters():
        assert torch.equal(mine, theirs[name])
        assert mine.requires_grad
    second = start.run()
    size = load_prior(PriorConfig(source=str(second)), Storage()).resolution_px
    assert size == 32, "windows are cut in the size that it was trained on now"
    assert str(tmp_path) not in (second / "unet" / "config.json").read_text()
    with pytest.raises(ConfigError, match="image_size_px: 17 cannot be halved 1 times"):
        Trainer(larger.model_copy(update={"image_size_px": 17, "output": str(tmp_path / "third")}), print)


def test_impossible_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="17 cannot be halved 1 times"):
        Trainer(config(tmp_path, tmp_path / "out", image_size_px=17))


def test_learning_rate_warms_up_and_ends_at_zero() -> None:
    settings = TrainConfig(pictures=("x",), output="y", steps=100, learning_rate=1.0)
    rates = [learning_rate_at(step, settings) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.0)
    assert all(a >= b for a, b in pairwise(rates[10:]))
