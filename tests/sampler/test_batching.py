"""A window's result does not depend on the batch it is restored in."""

import torch
from diffusers import UNet2DModel
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.sampler.batching import batches
from repaint_batch.sampler.noise import KeyedNoise, sample_key
from repaint_batch.sampler.presets import AnnealedLangevin, RePaint
from repaint_batch.sampler.prior import Prediction
from repaint_batch.sampler.schedule import NoiseSchedule

SHAPE = (3, 8, 8)
BATCH = 4


class TinyPrior:
    """A random network of two levels with attention."""

    schedule = NoiseSchedule.linear()
    fixed_large_variance = False

    def __init__(self):
        torch.manual_seed(0)
        self.network = UNet2DModel(
            sample_size=8,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            norm_num_groups=4,
            attention_head_dim=8,
        ).eval()

    def __call__(self, x_t, t):
        return Prediction(self.network(x_t, t).sample)


PRIOR = TinyPrior()
SAMPLERS = [AnnealedLangevin(3), RePaint(4, 2, 2)]


@torch.inference_mode()
def _restore(names, sampler):
    """Return {name: restored window}; picture and mask of a window follow from its name."""
    pictures, keeps = [], []
    for name in names:
        generator = torch.Generator().manual_seed(name)
        pictures.append(torch.rand(SHAPE, generator=generator) * 2 - 1)
        keeps.append(torch.rand((1, 8, 8), generator=generator) < 0.5)
    keys = [sample_key(5, str(name)) for name in names]
    found = []
    for batch in batches(torch.stack(pictures), torch.stack(keeps), keys, BATCH):
        assert len(batch.known) == len(batch.keep_mask) == len(batch.keys) == BATCH
        found += sampler.sample(PRIOR, batch.known, batch.keep_mask, KeyedNoise(batch.keys, SHAPE))[: batch.count]
    return dict(zip(names, found, strict=True))


ALONE = {}


@given(st.lists(st.integers(0, 7), min_size=1, max_size=9, unique=True), st.sampled_from(range(len(SAMPLERS))))
@settings(deadline=None, max_examples=20)
def test_results_do_not_depend_on_other_rows_padding_or_order(names, which):
    for name, restored in _restore(names, SAMPLERS[which]).items():
        if (name, which) not in ALONE:
            ALONE[name, which] = _restore([name], SAMPLERS[which])[name]
        assert torch.equal(restored, ALONE[name, which])


@given(st.integers(1, 20), st.integers(1, 7))
@settings(deadline=None)
def test_every_window_is_in_one_batch_and_padding_has_no_hole(count, size):
    known = torch.arange(count, dtype=torch.float32).reshape(count, 1, 1, 1)
    keep = torch.zeros((count, 1, 1, 1), dtype=torch.bool)
    made = list(batches(known, keep, range(1, count + 1), size))
    assert all(len(batch.known) == size for batch in made)
    real = [(float(x), key) for batch in made for x, key in list(zip(batch.known, batch.keys, strict=True))[: batch.count]]
    assert real == [(float(i), i + 1) for i in range(count)]
    assert all(bool(batch.keep_mask[batch.count :].all()) for batch in made)
