"""The eight faults of the pipeline that diffusers deprecated: each test runs both, that one fails and ours passes."""

import inspect
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import diffusers.schedulers.scheduling_repaint as deprecated_scheduler
import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, RePaintScheduler, UNet2DModel
from diffusers import RePaintPipeline as DeprecatedPipeline
from PIL import Image
from torch import Tensor

from repaint_batch import RePaintPipeline
from repaint_batch.sampler import slots
from repaint_batch.sampler.noise import key_words, keyed_normal
from repaint_batch.sampler.path import Jump, Reverse, Undo, jump_times, moves
from repaint_batch.sampler.prior import Prediction
from repaint_batch.sampler.repaint import RePaint, repaint_steps
from repaint_batch.sampler.run import sample
from repaint_batch.sampler.schedule import NoiseSchedule
from repaint_batch.sampler.step import State, follow
from repaint_batch.sampler.table import Table

from ..golden_vectors import read_json
from ..tiny_networks import generator, tiny_unet

SHORT: dict[str, Any] = {"num_inference_steps": 10, "jump_length": 3, "jump_n_sample": 2}


def both(unet: UNet2DModel | None = None, **scheduler: Any) -> tuple[DeprecatedPipeline, RePaintPipeline]:
    """Return the deprecated pipeline and ours around one network."""
    unet = unet or tiny_unet()
    pair = DeprecatedPipeline(unet, RePaintScheduler()), RePaintPipeline(unet, DDPMScheduler(**scheduler))
    for pipeline in pair:
        pipeline.set_progress_bar_config(disable=True)
    return pair


def picture(seed: int, side: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def mask(left: int, side: int = 32) -> Image.Image:
    """Return a mask with a dark, i.e. unknown, square."""
    made = Image.new("L", (side, side), 255)
    made.paste(0, (left, 4, left + 8, 12))
    return made


def known_pixels_kept(image: Image.Image, keep: Image.Image, result: Image.Image) -> bool:
    kept = np.asarray(keep) > 127
    return bool((np.asarray(image)[kept] == np.asarray(result)[kept]).all())


def tensors(count: int, side: int = 16) -> tuple[Tensor, Tensor]:
    """Return pictures, and masks with the left half known."""
    keep = torch.zeros(count, 1, side, side)
    keep[..., : side // 2] = 1
    return torch.rand(count, 3, side, side, generator=generator(7)) * 2 - 1, keep


def calls_of(pipeline: Any, image: Tensor, keep: Tensor, **settings: Any) -> list[tuple[int, Tensor]]:
    """Return (t, x_t) of every network call of a run."""
    calls: list[tuple[int, Tensor]] = []

    def watch(module: torch.nn.Module, given: tuple[Tensor, Tensor], options: Any) -> None:
        calls.append((int(given[1].flatten()[0]), given[0].clone()))

    hook = pipeline.unet.register_forward_pre_hook(watch, with_kwargs=True)
    pipeline(image, keep, output_type="np", generator=generator(3), **settings)
    hook.remove()
    return calls


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_1_every_picture_of_a_batch_has_its_own_mask(count: int) -> None:
    theirs, ours = both()
    images, masks = [picture(i) for i in range(count)], [mask(4 * i) for i in range(count)]

    def kept(pipeline: Any) -> list[bool]:
        results = pipeline(images, masks, **SHORT).images
        return [known_pixels_kept(*triple) for triple in zip(images, masks, results, strict=True)]

    assert all(kept(ours))
    if count == 1:
        assert all(kept(theirs)), "what a single picture shows is what to expect of a batch"
    elif count == 3:
        assert not any(kept(theirs))
    else:
        with pytest.raises(RuntimeError, match="must match the size"):
            kept(theirs)


def test_2_every_generator_decides_its_own_picture() -> None:
    theirs, ours = both()
    image, keep = tensors(2)

    def differs(pipeline: Any) -> float:
        together = pipeline(image, keep, eta=1.0, output_type="np", generator=[generator(1), generator(2)], **SHORT).images
        alone = pipeline(image[1:], keep[1:], eta=1.0, output_type="np", generator=[generator(2)], **SHORT).images
        return float(np.abs(together[1] - alone[0]).max())

    assert differs(ours) < 1e-4
    assert differs(theirs) > 0.1


def test_3_sizes_that_the_network_takes_are_taken() -> None:
    theirs, ours = both()
    for side in (40, 36):
        image, keep = picture(0, side), mask(4, side)
        result = ours(image, keep, **SHORT).images[0]
        assert result.size == (side, side)
        assert known_pixels_kept(image, keep, result)
    with pytest.raises(RuntimeError, match="must match the size"):
        theirs(picture(0, 40), mask(4, 40), **SHORT)
    assert theirs(picture(0, 36), mask(4, 36), **SHORT).images[0].size == (32, 32), "shrunk without a word"


@pytest.mark.parametrize(("index", "excess"), [(0, 1.154), (10, 1.022)])
def test_4_a_jump_adds_the_noise_of_the_forward_process(index: int, excess: float) -> None:
    theirs, ours = both()
    theirs.scheduler.set_timesteps(250)
    shape = (1, 3, 512, 512)
    alpha_bar = NoiseSchedule.linear().alpha_bar

    # One step up, 4 of the network's own: nothing but noise comes out of nothing.
    t = 4 * index
    their_variance = float(theirs.scheduler.undo_step(torch.zeros(shape), t, generator(0)).var())
    assert float(1 - alpha_bar[t + 4] / alpha_bar[t]) / their_variance == pytest.approx(excess, rel=0.005)

    # Ours is part of the step down before it, which for eta = 0 has no noise of its own.
    schedule = ours.prior.schedule.respaced(250)
    table = Table.of(schedule, repaint_steps(schedule, [Reverse(index + 1), Undo(index, index + 1)], eta=0.0), 1000)
    nothing, start = torch.zeros(shape), torch.zeros(1, dtype=torch.int64)
    state = State(nothing, nothing, torch.zeros(1, 1, 512, 512, dtype=torch.bool), nothing, start)
    step = follow(table.at(start), state, Prediction(nothing), None, None)
    x_t = step.mean + step.std * keyed_normal(key_words([5]), start, shape[1:])
    expected = float(1 - schedule.alpha_bar[index + 1] / schedule.alpha_bar[index])
    assert float(x_t.var()) == pytest.approx(expected, rel=0.01)


def test_5_the_network_is_called_at_the_levels_of_the_paper() -> None:
    recorded = next(
        entry for entry in read_json("schedules.json") if entry["params"]["t_T"] == 100 and "jump2_length" not in entry["params"]
    )
    settings = {"num_inference_steps": 100, "jump_length": 5, "jump_n_sample": 3}
    levels = [here for here, there in pairwise(recorded["times"]) if there < here]
    image, keep = tensors(1, side=8)
    theirs, ours = both()
    times = NoiseSchedule.linear().respaced(100).timesteps
    assert [t for t, _ in calls_of(ours, image, keep, **settings)] == [int(times[level]) for level in levels]
    their_levels = [t // 10 for t, _ in calls_of(theirs, image, keep, **settings)]
    assert their_levels != levels
    first_up = next(i for i, (a, b) in enumerate(pairwise(levels)) if b > a)
    assert their_levels[first_up + 1] == levels[first_up] - 1, "it goes one level further down before it jumps"


def test_5_known_pixels_are_at_the_level_that_the_network_is_told() -> None:
    image, keep = tensors(1, side=64)
    theirs, ours = both()
    alpha_bar = NoiseSchedule.linear().alpha_bar

    def variances(pipeline: Any) -> list[float]:
        """Variance of the noise on known pixels over that of the level, in every call but the first, all noise."""
        found = []
        settings = {"num_inference_steps": 8, "jump_length": 1, "jump_n_sample": 2, "eta": 1.0}
        for t, x_t in calls_of(pipeline, image, keep, **settings)[1:]:
            noise = (x_t - float(alpha_bar[t]) ** 0.5 * image)[..., :32]
            found.append(float(noise.var() / (1 - alpha_bar[t])))
        return found

    assert all(0.9 < value < 1.1 for value in variances(ours))
    assert max(variances(theirs)) > 100


def test_6_the_default_is_ddim_as_there() -> None:
    theirs, ours = both()
    image, keep = tensors(1)
    assert inspect.signature(theirs.__call__).parameters["eta"].default == 0

    def restored(**eta: float) -> np.ndarray:
        return ours(image, keep, output_type="np", keys=[1], **SHORT, **eta).images

    assert np.array_equal(restored(), restored(eta=0.0))
    assert not np.allclose(restored(), restored(eta=1.0), atol=1e-2)


def test_6_learned_variance_is_used() -> None:
    image, keep = tensors(1)
    theirs, ours = both(tiny_unet(out_channels=6), variance_type="learned_range")
    assert ours(image, keep, **SHORT, output_type="np").images.shape == (1, 16, 16, 3)
    with pytest.raises(RuntimeError, match="must match the size"):
        theirs(image, keep, **SHORT)


def test_6_class_labels_are_used() -> None:
    image, keep = tensors(1)
    theirs, ours = both(tiny_unet(num_class_embeds=4))
    first, second = (ours(image, keep, **SHORT, output_type="np", keys=[1], class_labels=label).images for label in (0, [3]))
    assert not np.allclose(first, second, atol=1e-3)
    with pytest.raises(ValueError, match="class_labels should be provided"):
        theirs(image, keep, **SHORT)


def test_7_any_number_of_steps_starts_where_nothing_is_left_of_the_picture() -> None:
    image, keep = tensors(1)
    theirs, ours = both()
    alpha_bar = NoiseSchedule.linear().alpha_bar
    for num_steps in (7, 30):
        settings = {"num_inference_steps": num_steps, "jump_length": 10, "jump_n_sample": 1}
        our_start, their_start = (calls_of(pipeline, image, keep, **settings)[0][0] for pipeline in (ours, theirs))
        assert our_start == 999
        assert their_start < 999
        assert float(alpha_bar[their_start]) > 2 * float(alpha_bar[our_start])


def test_8_a_jump_costs_no_more_draws_than_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = both()
    image, keep = tensors(1)
    # 250 steps of 1000, one jump of ten: the path from index 0 to 10 and back.
    theirs.scheduler.set_timesteps(250)
    draws: list[Any] = []
    draw = deprecated_scheduler.randn_tensor
    monkeypatch.setattr(deprecated_scheduler, "randn_tensor", lambda *a, **k: (draws.append(a), draw(*a, **k))[1])
    x_t = image
    for index in range(10):
        x_t = theirs.scheduler.undo_step(x_t, 4 * index, generator(0))
    assert len(draws) == 40

    taken: list[list[int]] = []

    def counted(keys: Tensor, number: Tensor, size: Sequence[int]) -> Tensor:
        taken.append(number.tolist())
        return keyed_normal(keys, number, size)

    monkeypatch.setattr(slots, "keyed_normal", counted)
    path = list(moves(jump_times(20, [Jump(10, 2)])))
    assert [move for move in path if not isinstance(move, Reverse)] == [Undo(0, 10)]
    sample(RePaint(20, 10, 2), ours.prior, image, keep.bool(), [1])
    # One that the chain starts from, and one for every step down: that of the last before the jump is the jump's too.
    assert taken == [[number] for number in range(1 + 20 + 10)]
