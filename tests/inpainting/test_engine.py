"""Slots fed from a queue: who goes first, what is counted, and what happens when memory runs out."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from repaint_batch.errors import BatchTooLarge, PriorError
from repaint_batch.inpainting.engine import Engine
from repaint_batch.sampler import slots
from repaint_batch.sampler.langevin import AnnealedLangevin
from repaint_batch.sampler.noise import keyed_normal
from repaint_batch.sampler.slots import Chain

from ..tiny_networks import TINY_PX, Narrow, generator, prior_of, tiny_unet

SAMPLER, LONGER = AnnealedLangevin(3), AnnealedLangevin(6)


def chain(name: int, **more: Any) -> Chain:
    """Return a window that follows from its name; those with odd names start from a draft."""
    seeded = generator(name)
    known = torch.rand(3, TINY_PX, TINY_PX, generator=seeded) * 2 - 1
    keep = torch.rand(1, TINY_PX, TINY_PX, generator=seeded) < 0.5
    return Chain(name, known, keep, known.flip(-1) if name % 2 else None, **more)


def results(chains: Sequence[Chain]) -> Tensor:
    return torch.stack([one.restored for one in chains if one.restored is not None])


def test_lower_ranks_go_first_and_those_of_one_rank_in_order() -> None:
    engine = Engine(prior_of(tiny_unet()), SAMPLER, 1)
    ranks = {0: 2, 2: -3, 4: 1, 6: -3}
    for name, rank in ranks.items():
        engine.enqueue(chain(name), rank)
    assert engine.waiting == 4
    out: list[int] = []
    while not engine.is_idle:
        out += [one.key for one in engine.step()]
    assert out == [2, 6, 4, 0]


def test_what_comes_later_waits_for_a_slot_and_no_longer() -> None:
    engine = Engine(prior_of(tiny_unet()), SAMPLER, 2)
    for name in (0, 2):
        engine.enqueue(chain(name), rank=5)
    engine.step()
    engine.enqueue(chain(4), rank=9)
    engine.enqueue(chain(6), rank=0)
    assert engine.waiting == 2, "whoever is under way stays, whatever waits"
    assert [[one.key for one in engine.step()] for _ in range(5)] == [[], [0, 2], [], [], [6, 4]]


def test_network_calls_and_slots_in_use_are_counted() -> None:
    engine = Engine(prior_of(tiny_unet()), SAMPLER, 2)
    engine.run([chain(name) for name in (0, 2, 4)])
    assert (engine.calls, engine.used) == (2 * SAMPLER.nfe, 3 * SAMPLER.nfe)
    assert (engine.waiting, engine.is_idle, engine.batch_windows) == (0, True, 2)
    assert engine.step() == []
    assert engine.calls == 2 * SAMPLER.nfe, "an empty batch is not computed"


def test_classes_are_those_of_chains_or_the_default() -> None:
    prior = prior_of(tiny_unet(num_class_embeds=4), default_label=3)
    theirs, own, default = [chain(0, label=1), chain(2, label=3)], [chain(0, label=1), chain(2, label=1)], [chain(0), chain(2)]
    Engine(prior, SAMPLER, 2, labelled=True).run(theirs)
    Engine(prior, SAMPLER, 2, labelled=True).run(own)
    Engine(prior, SAMPLER, 2).run(default)
    assert torch.equal(results(theirs)[0], results(own)[0])
    assert not torch.equal(results(theirs)[1], results(own)[1])
    assert torch.equal(results(theirs)[1], results(default)[1])
    with pytest.raises(PriorError, match="say which of its 4 classes"):
        Engine(prior_of(tiny_unet(num_class_embeds=4)), SAMPLER, 2)


class Failing:
    """Calls a function, and runs out of memory in the calls of the given numbers."""

    def __init__(self, function: Callable[..., Any], *fails_at: int) -> None:
        self.function, self.fails_at, self.calls = function, fails_at, 0

    def __call__(self, *given: Any, **named: Any) -> Any:
        self.calls += 1
        if self.calls - 1 in self.fails_at:
            raise torch.OutOfMemoryError("a test's own limit")
        return self.function(*given, **named)


NAMES = range(7)


@pytest.fixture(scope="module")
def expected() -> Tensor:
    chains = [chain(name) for name in NAMES]
    Engine(prior_of(tiny_unet()), LONGER, 4).run(chains)
    return results(chains)


@pytest.mark.parametrize("fails_at", [(0,), (1,), (2,), (3,), (4,), (5,), (0, 1), (2, 4), (3, 8)])
@pytest.mark.parametrize("where", ["network", "noise"])
def test_when_memory_runs_out_half_the_slots_go_on_with_every_chain_as_it_was(
    where: str, fails_at: tuple[int, ...], expected: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise is drawn for new chains as well as in a step, so that the limit is met in both."""
    network = tiny_unet()
    if where == "noise":
        monkeypatch.setattr(slots, "keyed_normal", Failing(keyed_normal, *fails_at))
    else:
        network.forward = Failing(network.forward, *fails_at)  # type: ignore[method-assign]
    engine = Engine(prior_of(network), LONGER, 4, may_shrink=True)
    chains = [chain(name) for name in NAMES]
    engine.run(chains)
    assert engine.batch_windows == 4 // 2 ** len(fails_at)
    assert engine.used == 4 * LONGER.nfe + 3 * LONGER.entry_nfe, "no step is done twice and none is left out"
    assert engine.is_idle
    # Networks round differently at another batch size, and nothing else is different.
    torch.testing.assert_close(results(chains), expected, rtol=0, atol=1e-4)


def test_a_device_that_is_too_small_from_the_start_is_found_by_halving(expected: Tensor) -> None:
    engine = Engine(prior_of(Narrow(tiny_unet(), 3)), LONGER, 16, may_shrink=True)
    chains = [chain(name) for name in NAMES]
    engine.run(chains)
    assert engine.batch_windows == 2
    torch.testing.assert_close(results(chains), expected, rtol=0, atol=1e-4)


def test_without_leave_to_shrink_it_is_an_error_that_names_a_batch_that_fits() -> None:
    engine = Engine(prior_of(Narrow(tiny_unet(), 3)), SAMPLER, 8)
    chains = [chain(name) for name in NAMES]
    with pytest.raises(BatchTooLarge, match=r"8 windows of 8×8 px .* 2 do: set compute\.batch_windows to 2;") as caught:
        engine.run(chains)
    assert caught.value.fits == 2
    assert not engine.is_idle


def test_a_single_window_that_does_not_fit_is_an_error_however_much_it_may_shrink() -> None:
    engine = Engine(prior_of(Narrow(tiny_unet(), 0)), SAMPLER, 4, may_shrink=True)
    with pytest.raises(PriorError, match="nor does a single one"):
        engine.run([chain(0)])


def test_states_are_those_of_chains_under_way() -> None:
    engine = Engine(prior_of(tiny_unet()), SAMPLER, 2)
    chains = [chain(name) for name in (0, 2, 4)]
    for one in chains:
        engine.enqueue(one)
    engine.step()
    found = engine.states()
    assert [(one.key, one.position) for one, _ in found] == [(0, 1), (2, 1)]
    # Another engine goes on from them.
    again = [chain(one.key, position=one.position, x_t=x_t) for one, x_t in found]
    Engine(prior_of(tiny_unet()), SAMPLER, 2).run(again)
    while not engine.is_idle:
        engine.step()
    assert torch.equal(results(again), results(chains[:2]))
