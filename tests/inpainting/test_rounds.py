"""Large holes, coarse to fine: as grainy as their surroundings, without borders of windows, and resumable anywhere."""

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ConfigMixin, DDPMScheduler, ModelMixin
from diffusers.configuration_utils import register_to_config
from PIL import Image
from torch import Tensor, nn

from repaint_batch.config import ImagesConfig
from repaint_batch.images.restoration import Prepared, compose, prepare
from repaint_batch.images.windows import leaves
from repaint_batch.inpainting import RePaintPipeline
from repaint_batch.inpainting.pipeline import Checkpoint
from repaint_batch.inpainting.rounds import Unrestored, nfe_of, restore_pictures
from repaint_batch.priors.analytic import GaussianMixture
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.priors.process import Process
from repaint_batch.sampler.noise import sample_key
from repaint_batch.sampler.presets import PRESETS, RePaint, Sampler
from repaint_batch.sampler.repaint import ChainState

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
def pipeline() -> RePaintPipeline:
    scheduler = DDPMScheduler()
    return RePaintPipeline.from_prior(LoadedPrior(Exact(), Process.from_scheduler(scheduler.config, "a test"), scheduler))


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


def test_a_large_hole_is_as_grainy_as_its_surroundings_and_shows_no_window(pipeline: RePaintPipeline) -> None:
    fine, coarse, borders, rims = [], [], [], []
    for seed in range(3):
        for most, found in ((512, fine), (1, coarse)):
            config = ImagesConfig(max_windows=most)
            data, mask, prepared = picture(seed, config)
            (restored,) = restore_pictures(
                pipeline, [unrestored(prepared, f"{seed}")], sampler=PRESETS["fast"], batch_windows=16
            )
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
def test_what_windows_cost_is_known_before(pipeline: RePaintPipeline, sampler: Sampler) -> None:
    _, _, prepared = picture(0, ImagesConfig())
    network = pipeline.unet
    network.calls = 0
    restore_pictures(pipeline, [unrestored(prepared, "a")], sampler=sampler, batch_windows=1)
    assert network.calls == nfe_of(prepared.plan, sampler)
    assert nfe_of(prepared.plan, sampler) < sampler.nfe * len(prepared.plan)


@pytest.mark.parametrize("orientation", [3, 6])
def test_orientation_changes_no_geometry(pipeline: RePaintPipeline, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    config = ImagesConfig(mask_drawn_on="stored")
    data, mask = saved(field(5), exif=exif), masked(*HOLE)
    prepared = prepare(data, mask, config, R)
    (restored,) = restore_pictures(pipeline, [unrestored(prepared, "a")], sampler=PRESETS["draft"], batch_windows=16)
    done = compose(data, mask, restored, config, R, "source")
    pixels = np.asarray(Image.open(io.BytesIO(done.data)))
    at = sorted({prepared.plan[i].duty[0] for i in leaves(prepared.plan)} - {HOLE[0]})
    inside = steps_across(pixels, list(range(HOLE[0] + 1, HOLE[2])))
    assert steps_across(pixels, at) / inside == pytest.approx(1, abs=0.25)
    assert steps_across(pixels, [HOLE[0], HOLE[2]]) / inside == pytest.approx(1, abs=0.25)


class Killed(BaseException):
    """Stands for a process that ends."""


class Kept(Checkpoint):
    """Keeps the last state in memory, and dies after some number of saves."""

    def __init__(self, dies_at: int = 0) -> None:
        self.left, self.saves = dies_at, 0
        self.kept: tuple[Tensor | None, ChainState | None] = (None, None)

    def load(self) -> tuple[Tensor | None, ChainState | None]:
        return self.kept

    def save(self, restored: Any, state: ChainState) -> None:
        self.kept = (torch.cat(list(restored)) if restored else None, ChainState(state.position, state.x_t.clone()))
        self.saves += 1
        self.left -= 1
        if self.left == 0:
            raise Killed


def test_a_picture_comes_out_the_same_alone_in_company_and_interrupted(pipeline: RePaintPipeline) -> None:
    pictures = [unrestored(picture(seed, ImagesConfig())[2], f"{seed}") for seed in (1, 2)]
    settings: dict[str, Any] = {"sampler": PRESETS["draft"], "batch_windows": 4}
    whole = Kept()
    together = restore_pictures(pipeline, pictures, checkpoint=whole, **settings)
    for alone, company in zip([restore_pictures(pipeline, [one], **settings)[0] for one in pictures], together, strict=True):
        assert (alone == company).all()
    for dies_at in (1, 20, whole.saves // 2, whole.saves - 1, whole.saves):
        dying = Kept(dies_at)
        with pytest.raises(Killed):
            restore_pictures(pipeline, pictures, checkpoint=dying, **settings)
        going_on = Kept()
        going_on.kept = dying.kept
        resumed = restore_pictures(pipeline, pictures, checkpoint=going_on, **settings)
        assert all((one == other).all() for one, other in zip(resumed, together, strict=True))
        assert going_on.saves == whole.saves - dies_at, "no step is done twice and none is left out"
