"""The engine's thread: calls that come together share the slots, and each gets what it would have got alone."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from repaint_batch.errors import PriorError, Stopped
from repaint_batch.images.windows import Window
from repaint_batch.inpainting.engine import Engine
from repaint_batch.inpainting.restorer import Restorer, Unrestored
from repaint_batch.pipeline.loop import EngineLoop, Sampled
from repaint_batch.sampler.langevin import AnnealedLangevin
from repaint_batch.sampler.noise import sample_key

from ..inpainting.test_device import prior_of
from ..tiny_networks import Narrow, tiny_unet

R, BATCH = 8, 4


def picture(name: int, windows: int = 1) -> Unrestored:
    rng = np.random.default_rng(name)
    keep = rng.random((windows, R, R)) < 0.5
    plan = tuple(Window(4 * R * i, 0, R, (4 * R * i, 0, 4 * R * i + R, R)) for i in range(windows))
    pixels = rng.uniform(-1, 1, (windows, R, R, 3)).astype(np.float32)
    return Unrestored(pixels, keep, plan, 1, [sample_key(0, f"{name}", i) for i in range(windows)])


def restorer(wrap: Callable[[torch.nn.Module], torch.nn.Module] = lambda network: network) -> Restorer:
    return Restorer(Engine(prior_of(wrap(tiny_unet())), AnnealedLangevin(6), BATCH, size_px=(R, R)))


def restored(loop: EngineLoop, name: int) -> np.ndarray:
    row = Sampled(name, [picture(name)])
    loop.restore(lambda: [row], 1)
    (window,) = row.underway[0].restored
    assert window is not None
    return window


def test_calls_share_slots_and_get_what_they_would_get_alone() -> None:
    alone = {name: restored(EngineLoop(restorer, None, 60), name) for name in range(3)}
    loop = EngineLoop(restorer, None, 60)
    found: dict[int, np.ndarray] = {}
    threads = [threading.Thread(target=lambda name=name: found.update({name: restored(loop, name)})) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[name], alone[name]) for name in alone)
    usage = loop.usage()
    assert usage.used == 18
    assert usage.calls < 18, "they were under way together"
    assert (usage.slots, usage.waiting, usage.parcels) == (BATCH, 0, 0)


def test_what_fails_in_the_engine_reaches_every_call_and_the_next_one_starts_anew() -> None:
    class Broken(torch.nn.Module):
        def __init__(self, network: torch.nn.Module) -> None:
            super().__init__()
            self.network, self.config = network, network.config

        def forward(self, sample: Tensor, *arguments: object, **settings: object) -> object:
            raise PriorError("it is broken")

    made = []

    def make() -> Restorer:
        made.append(1)
        return restorer(Broken) if len(made) == 1 else restorer()

    loop = EngineLoop(make, None, 60)
    with pytest.raises(PriorError, match="it is broken"):
        restored(loop, 1)
    assert restored(loop, 1).shape == (R, R, 3)


def test_told_to_stop_every_call_ends() -> None:
    stop = threading.Event()

    class Slow(Narrow):
        def forward(self, *arguments: object, **settings: object) -> object:
            stop.set()
            time.sleep(0.02)
            return super().forward(*arguments, **settings)

    loop = EngineLoop(lambda: restorer(lambda network: Slow(network, 64)), None, 60, to_stop=stop.is_set)
    with pytest.raises(Stopped):
        restored(loop, 1)


def test_rows_of_one_call_that_end_in_the_same_step_end_it_once() -> None:
    loop = EngineLoop(restorer, None, 60)
    rows = [Sampled(name, [picture(name), picture(name + 10)]) for name in range(2)]
    loop.restore(lambda: rows, 4)
    assert all(row.is_done for row in rows)
    assert restored(loop, 5).shape == (R, R, 3), "and the loop goes on"


def test_an_idle_loop_that_is_told_to_stop_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    stop = threading.Event()
    loop = EngineLoop(restorer, None, 60, to_stop=stop.is_set)
    restored(loop, 1)
    stop.set()
    time.sleep(1)
    assert caplog.text == ""
    with pytest.raises(Stopped):
        restored(loop, 1)
