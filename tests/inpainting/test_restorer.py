"""Large holes, coarse to fine: as grainy as their surroundings, without borders of windows, and resumable anywhere."""

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from repaint_batch.config import ImagesConfig
from repaint_batch.images.restoration import Prepared, compose, prepare
from repaint_batch.images.windows import Window, leaves
from repaint_batch.inpainting.engine import Engine
from repaint_batch.inpainting.restorer import Restorer, Saved, Underway, Unrestored, longest_paths, nfe_of, restore_pictures
from repaint_batch.preflight.playing import calls_of
from repaint_batch.priors.analytic import GaussianMixture
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.sampler.langevin import AnnealedLangevin
from repaint_batch.sampler.noise import sample_key
from repaint_batch.sampler.presets import PRESETS
from repaint_batch.sampler.repaint import RePaint
from repaint_batch.sampler.sampler import Sampler

from ..tiny_networks import prior_of

R, SIDE_PX, STD = 16, 112, 0.2
HOLE = (32, 36, 80, 76)
REACH_PX = 3.0


class Exact(ModelMixin, ConfigMixin):
    """A network that knows the law of grainy fields: x_0 ~ N(0, STD² exp(-distance / REACH_PX)), channels alike."""

    @register_to_config
    def __init__(self, in_channels: int = 3, out_channels: int = 3, sample_size: int = R, block_out_channels: tuple[int] = (1,)):
        super().__init__()
        place = torch.stack(torch.meshgrid(torch.arange(R), torch.arange(R), indexing="ij"), -1).reshape(-1, 2).double()
        covariance = STD**2 * torch.exp(-torch.cdist(place, place) / REACH_PX)
        self.law = GaussianMixture.gaussian(torch.zeros(R * R), covariance, (1, R, R))
        self.calls = 0
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, sample: Tensor, timestep: Tensor, class_labels: Tensor | None = None) -> Any:
        self.calls += len(sample)
        eps = self.law(sample.reshape(-1, 1, R, R), timestep.repeat_interleave(3)).eps
        return SimpleNamespace(sample=eps.reshape(sample.shape))


@pytest.fixture(scope="module")
def prior() -> LoadedPrior:
    return prior_of(Exact())


def field(seed: int, side: int = SIDE_PX) -> np.ndarray:
    """Return (side, side, 3) uint8 of one grey field with the law of `Exact`."""
    period = 2 * side
    at = np.minimum(np.arange(period), period - np.arange(period))
    spectrum = np.fft.fft2(STD**2 * np.exp(-np.hypot(at[:, None], at) / REACH_PX)).real.clip(0)
    white = np.random.default_rng(seed).standard_normal((period, period, 3))
    grain = np.fft.ifft2(np.fft.fft2(white, axes=(0, 1)) * np.sqrt(spectrum)[..., None], axes=(0, 1)).real[:side, :side]
    return np.rint((grain.clip(-1, 1) + 1) * 127.5).astype(np.uint8)


def saved(pixels: np.ndarray, **options: Any) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG", **options)
    return data.getvalue()


def masked(*box: int) -> bytes:
    mask = np.zeros((SIDE_PX, SIDE_PX), dtype=np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 255
    return saved(mask)


def picture(seed: int, config: ImagesConfig) -> tuple[bytes, bytes, Prepared]:
    data, mask = saved(field(seed)), masked(*HOLE)
    return data, mask, prepare(data, mask, config, R)


def unrestored(prepared: Prepared, name: str) -> Unrestored:
    return Unrestored.of(prepared, [sample_key(0, name, i) for i in range(len(prepared.windows))])


def steps_across(pixels: np.ndarray, columns: list[int]) -> float:
    """Return the mean step between each of `columns` and the one before, in the hole's rows."""
    rows = pixels[HOLE[1] : HOLE[3]].astype(float)
    return float(np.mean([np.abs(rows[:, at] - rows[:, at - 1]).mean() for at in columns]))


def test_a_large_hole_is_as_grainy_as_its_surroundings_and_shows_no_window(prior: LoadedPrior) -> None:
    fine, coarse, borders, rims = [], [], [], []
    for seed in range(3):
        for most, found in ((512, fine), (1, coarse)):
            config = ImagesConfig(max_windows=most)
            data, mask, prepared = picture(seed, config)
            (restored,) = restore_pictures(Engine(prior, PRESETS["fast"], 16), [unrestored(prepared, f"{seed}")])
            done = compose(data, mask, restored, config, R, "source")
            assert done.known_pixels_equal
            pixels = np.asarray(Image.open(io.BytesIO(done.data)))
            inside = steps_across(pixels, list(range(HOLE[0] + 1, HOLE[2])))
            found.append(inside / steps_across(field(seed), list(range(4, 30))))
            if most > 1:
                final = [prepared.plan[i] for i in leaves(prepared.plan)]
                at = sorted({window.duty[0] for window in final} - {HOLE[0]})
                assert len(at) > 1
                borders.append(steps_across(pixels, at) / inside)
                rims.append(steps_across(pixels, [HOLE[0], HOLE[2]]) / inside)
    assert np.mean(fine) == pytest.approx(1, abs=0.1)
    assert np.mean(coarse) < 0.7, "what is only enlarged lacks grain"
    assert np.mean(borders) == pytest.approx(1, abs=0.12)
    assert np.mean(rims) == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize("sampler", [PRESETS["draft"], RePaint(20, 4, 2)], ids=["draft", "repaint"])
def test_what_windows_cost_is_known_before(prior: LoadedPrior, sampler: Sampler) -> None:
    _, _, prepared = picture(0, ImagesConfig())
    engine = Engine(prior, sampler, 1)
    prior.network.calls = 0
    restore_pictures(engine, [unrestored(prepared, "a")])
    assert prior.network.calls == engine.used == nfe_of(prepared.plan, sampler)
    assert nfe_of(prepared.plan, sampler) < sampler.nfe * len(prepared.plan)


@pytest.mark.parametrize("orientation", [3, 6])
def test_orientation_changes_no_geometry(prior: LoadedPrior, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    config = ImagesConfig(mask_drawn_on="stored")
    data, mask = saved(field(5), exif=exif), masked(*HOLE)
    prepared = prepare(data, mask, config, R)
    (restored,) = restore_pictures(Engine(prior, PRESETS["draft"], 16), [unrestored(prepared, "a")])
    done = compose(data, mask, restored, config, R, "source")
    pixels = np.asarray(Image.open(io.BytesIO(done.data)))
    at = sorted({prepared.plan[i].duty[0] for i in leaves(prepared.plan)} - {HOLE[0]})
    inside = steps_across(pixels, list(range(HOLE[0] + 1, HOLE[2])))
    assert steps_across(pixels, at) / inside == pytest.approx(1, abs=0.25)
    assert steps_across(pixels, [HOLE[0], HOLE[2]]) / inside == pytest.approx(1, abs=0.25)


SHORT, SLOTS = AnnealedLangevin(8), 3
BOXES = ((40, 40, 64, 60), (30, 50, 44, 60), (8, 8, 40, 32), (60, 60, 68, 66))
"""Holes of several windows in several rounds, and of one."""


def short(number: int) -> Unrestored:
    """Return a picture with a smaller hole."""
    prepared = prepare(saved(field(number)), masked(*BOXES[number]), ImagesConfig(), R)
    return unrestored(prepared, f"short-{number}")


@pytest.fixture(scope="module")
def pictures() -> list[Unrestored]:
    return [short(number) for number in range(len(BOXES))]


@pytest.fixture(scope="module")
def alone(prior: LoadedPrior, pictures: list[Unrestored]) -> list[np.ndarray]:
    return [restore_pictures(Engine(prior, SHORT, SLOTS), [one])[0] for one in pictures]


def what_is_done(restorer: Restorer, underway: Underway) -> Saved:
    """Return what a process that is told to stop keeps of a picture."""
    ended = {number: pixels for number, pixels in enumerate(underway.restored.pixels) if pixels is not None}
    return Saved(ended, restorer.states().get(underway, {}))


@settings(deadline=None, max_examples=25)
@given(
    order=st.permutations(range(len(BOXES))),
    count=st.integers(1, len(BOXES)),
    waits=st.lists(st.integers(0, 12), min_size=len(BOXES), max_size=len(BOXES)),
    stops=st.sets(st.integers(0, 60), max_size=3),
)
def test_a_picture_comes_out_the_same_alone_in_company_in_any_order_and_interrupted_anywhere(
    prior: LoadedPrior,
    pictures: list[Unrestored],
    alone: list[np.ndarray],
    order: list[int],
    count: int,
    waits: list[int],
    stops: set[int],
) -> None:
    arriving = [(number, Saved()) for number in order[:count]]
    total = sum(nfe_of(pictures[number].plan, SHORT) for number, _ in arriving)
    restorer, numbers, waiting, steps, used = Restorer(Engine(prior, SHORT, SLOTS)), {}, waits[0], 0, 0
    found: dict[int, np.ndarray] = {}
    while arriving or numbers:
        if steps in stops:
            stops, arriving = stops - {steps}, [(numbers[one], what_is_done(restorer, one)) for one in numbers] + arriving
            arriving.reverse()
            used += restorer.engine.used
            restorer, numbers = Restorer(Engine(prior, SHORT, SLOTS)), {}
        if arriving and (waiting <= 0 or not numbers):
            number, done = arriving.pop(0)
            numbers[restorer.add(pictures[number], done)] = number
            waiting = waits[len(arriving)]
        for one in restorer.step():
            found[numbers.pop(one)] = np.stack([window for window in one.restored if window is not None])
        waiting, steps = waiting - 1, steps + 1
    assert restorer.is_idle
    assert used + restorer.engine.used == total, "no step is done twice and none is left out"
    assert sorted(found) == sorted(order[:count])
    for number, windows in found.items():
        assert (windows == alone[number]).all()


def test_windows_of_other_pictures_fill_the_slots_that_one_leaves_free(prior: LoadedPrior, pictures: list[Unrestored]) -> None:
    """The rounds of a picture are sampled one after the other; what counts is that the slots are full meanwhile."""
    shares = []
    for together in (pictures[:1], pictures * 3):
        engine = Engine(prior, SHORT, SLOTS)
        restore_pictures(engine, together)
        assert engine.used == sum(nfe_of(one.plan, SHORT) for one in together)
        shares.append(engine.used / (SLOTS * engine.calls))
    assert shares[0] < 0.4 < 0.8 < shares[1]


def test_pictures_come_out_in_the_order_in_which_they_came_in(prior: LoadedPrior, pictures: list[Unrestored]) -> None:
    seen: list[int] = []
    one_window = [pictures[3]] * 5
    restore_pictures(Engine(prior, SHORT, 1), one_window, on_step=lambda restorer: seen.append(len(restorer.states())))
    assert seen == ([1] * (SHORT.nfe - 1) + [0]) * 5
    restorer = Restorer(Engine(prior, SHORT, SLOTS))
    underway = [restorer.add(one) for one in one_window]
    finished: list[Underway] = []
    while not restorer.is_idle:
        finished += restorer.step()
    assert finished == underway


def test_a_picture_without_windows_and_one_that_was_done_come_out_at_once(
    prior: LoadedPrior, pictures: list[Unrestored], alone: list[np.ndarray]
) -> None:
    restorer = Restorer(Engine(prior, SHORT, SLOTS))
    empty = Unrestored(np.zeros((0, R, R, 3), np.float32), np.zeros((0, R, R), bool), (), 1, [])
    ended = {number: window[~pictures[0].keep_mask[number]] for number, window in enumerate(alone[0])}
    first, second = restorer.add(empty), restorer.add(pictures[0], Saved(ended))
    assert restorer.step() == [first, second]
    assert restorer.is_idle
    assert restorer.engine.calls == 0
    assert np.array_equal(np.stack(second.restored), alone[0])


def test_the_longest_row_of_windows_that_follow_each_other() -> None:
    #  0 -> 1 -> 3,  0 -> 2,  4 alone
    assert longest_paths([set(), {0}, {0}, {1, 0}, set()], [30, 8, 8, 5, 30]) == [43, 13, 8, 5, 30]


def test_long_rows_of_windows_are_begun_before_short_ones() -> None:
    """Pictures with many rounds beside pictures of one window: no slot is empty until hardly anything is left."""
    alone = (Window(0, 0, R, (0, 0, R, R)),)
    row = (alone[0], *(Window(0, 0, R, (0, 0, R, R), parent=number) for number in range(9)))
    sampler = PRESETS["draft"]
    longest = sampler.nfe + 9 * sampler.entry_nfe
    windows = 6 * (longest // sampler.nfe)
    assert calls_of([alone] * windows + [row], sampler, 7, R) <= longest + sampler.nfe
