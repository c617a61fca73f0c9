"""A window's result depends on nothing but itself: not on its neighbours, their steps, its slot, or interruptions."""

import doctest

import pytest
import torch
from diffusers import UNet2DModel
from hypothesis import given, settings
from hypothesis import strategies as st

import repaint_batch.sampler.prior as prior_module
import repaint_batch.sampler.sampler as sampler_module
from repaint_batch.sampler.langevin import AnnealedLangevin
from repaint_batch.sampler.noise import sample_key
from repaint_batch.sampler.prior import Prediction
from repaint_batch.sampler.repaint import RePaint
from repaint_batch.sampler.run import sample
from repaint_batch.sampler.schedule import NoiseSchedule
from repaint_batch.sampler.slots import Chain, Slots

SHAPE = (3, 8, 8)


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
SAMPLERS = [AnnealedLangevin(5), RePaint(6, 2, 2)]


def chain(name: int) -> Chain:
    """Return a window that follows from its name; those with odd names start from a draft."""
    generator = torch.Generator().manual_seed(name)
    known = torch.rand(SHAPE, generator=generator) * 2 - 1
    keep = torch.rand((1, 8, 8), generator=generator) < 0.5
    draft = torch.rand(SHAPE, generator=generator) if name % 2 else None
    return Chain(sample_key(5, str(name)), known, keep, draft)


def slots_of(sampler, count: int) -> Slots:
    return Slots(PRIOR, sampler.table(PRIOR.schedule), (count, *SHAPE))


def alone(name: int, which: int, cache={}):  # noqa: B006
    if (name, which) not in cache:
        slots, window = slots_of(SAMPLERS[which], 3), chain(name)
        slots.put([window])
        while not slots.is_empty:
            slots.step()
        cache[name, which] = window.restored
    return cache[name, which]


@given(
    waits=st.lists(st.integers(0, 4), min_size=1, max_size=8),
    order=st.permutations(range(8)),
    interrupts=st.sets(st.integers(1, 20), max_size=3),
    which=st.sampled_from(range(len(SAMPLERS))),
)
@settings(deadline=None, max_examples=25)
def test_a_result_does_not_depend_on_neighbours_slots_order_or_interruptions(waits, order, interrupts, which):
    slots = slots_of(SAMPLERS[which], 3)
    queue = [chain(name) for name in order[: len(waits)]]
    names = dict(zip(map(id, queue), order, strict=False))
    waiting = list(waits)
    found = []
    while queue or not slots.is_empty:
        while queue and slots.free and waiting[0] <= 0:
            waiting.pop(0)
            slots.put([queue.pop(0)])
        waiting = [waiting[0] - 1, *waiting[1:]] if waiting else waiting
        if slots.calls in interrupts:
            # As after a crash: other slots, from what was saved.
            interrupts = interrupts - {slots.calls}
            queue = slots.take_out() + queue
            waiting = [0] * (len(queue) - len(waiting)) + waiting
            calls, slots = slots.calls, slots_of(SAMPLERS[which], 3)
            slots.calls = calls
            continue
        found += slots.step()
    assert len(found) == len(waits)
    for window in found:
        assert torch.equal(window.restored, alone(names[id(window)], which))
        assert torch.equal(torch.where(window.keep_mask, window.restored, 0), torch.where(window.keep_mask, window.known, 0))


def test_every_slot_counts_its_own_steps_and_the_batch_what_was_used():
    sampler = AnnealedLangevin(4)
    slots = slots_of(sampler, 2)
    first, second = chain(0), chain(2)
    slots.put([first])
    assert slots.step() == []
    slots.put([second])
    assert (first.position, second.position, slots.free) == (1, 0, [])
    out = [slots.step() for _ in range(4)]
    assert out == [[], [], [first], [second]]
    assert (slots.calls, slots.used) == (5, 8)
    assert slots.free == [0, 1]


def test_a_chain_with_a_draft_enters_late():
    sampler = AnnealedLangevin(40)
    slots, window = slots_of(sampler, 1), chain(1)
    slots.put([window])
    assert window.position == sampler.table(PRIOR.schedule).entry == sampler.nfe - sampler.entry_nfe


def test_no_step_waits_for_the_device():
    """On the meta device nothing can be read back: what a step computes with stays there."""

    def prior(x_t, t):
        assert x_t.device.type == t.device.type == "meta"
        return Prediction(x_t)

    prior.schedule, prior.fixed_large_variance = PRIOR.schedule, False
    slots = Slots(prior, AnnealedLangevin(4).table(PRIOR.schedule), (2, *SHAPE), device="meta")
    for _ in range(3):
        slots.step()


def test_the_documented_sampler_of_ones_own_runs():
    """The example in `Sampler`'s docstring, as it stands there."""
    names = {}
    for example in doctest.DocTestParser().get_examples(sampler_module.Sampler.__doc__):
        exec(example.source, names)
    own = names["Ddim"](10)
    assert own.nfe == 10
    windows = [chain(0), chain(2)]
    known, keep = torch.stack([w.known for w in windows]), torch.stack([w.keep_mask for w in windows])
    restored = sample(own, PRIOR, known, keep, [1, 2])
    assert torch.equal(restored[keep.expand_as(known)], known[keep.expand_as(known)])
    assert own.describe() == {"sampler": "ddim-replace", "version": 1, "num_steps": 10}


def test_the_documented_prior_of_ones_own_runs():
    """The example in `Prior`'s docstring, as it stands there: its restorations have its law."""
    names = {}
    for example in doctest.DocTestParser().get_examples(prior_module.Prior.__doc__):
        exec(example.source, names)
    known, keep = torch.zeros(400, *SHAPE), torch.zeros(400, 1, 8, 8, dtype=torch.bool)
    restored = sample(AnnealedLangevin(60), names["GreyNoise"](), known, keep, range(400))
    assert float(restored.std()) == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=["annealed", "repaint"])
def test_a_batch_of_its_own_gives_what_slots_give(sampler):
    which = SAMPLERS.index(sampler)
    windows = [chain(name) for name in (0, 2, 4)]
    known, keep = torch.stack([w.known for w in windows]), torch.stack([w.keep_mask for w in windows])
    restored = sample(sampler, PRIOR, known, keep, [w.key for w in windows])
    for window, name in zip(restored, (0, 2, 4), strict=True):
        assert torch.equal(window, alone(name, which))
