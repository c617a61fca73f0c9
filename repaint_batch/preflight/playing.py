"""Windows played through an engine's slots without a network: how many calls they take.

A call takes every window that holds a slot one step further. A window waits for those it builds on, then for a free slot;
those go first that most steps follow, as in `repaint_batch.inpainting.restorer`. What happens between two ends of windows is
skipped over, so it costs a heap operation a window, whatever the number of steps.
"""

import heapq
from collections.abc import Sequence

from repaint_batch.images.windows import Window, donors
from repaint_batch.inpainting.restorer import longest_paths, needs_of
from repaint_batch.sampler.sampler import Sampler


def calls_of(pictures: Sequence[Sequence[Window]], sampler: Sampler, slots: int, resolution_px: int) -> int:
    """Return the network calls in which all windows of pictures are sampled.

    Args:
        pictures: the windows of each, in the order in which they come in.
        sampler: what takes the steps.
        slots: windows in a call.
        resolution_px: side of the prior's input.
    """
    needs = [needs_of(plan, donors(plan, resolution_px)) for plan in pictures]
    steps = [[sampler.nfe if window.parent is None else sampler.entry_nfe for window in plan] for plan in pictures]
    paths = [longest_paths(*of_one) for of_one in zip(needs, steps, strict=True)]
    ready = [(age, number) for age, of_one in enumerate(needs) for number, need in enumerate(of_one) if not need]
    waiting = [(-paths[age][number], age, number) for age, number in ready]
    under_way: list[tuple[int, int, int]] = []  # (call after which it ends, picture, window)
    calls, free = 0, slots
    heapq.heapify(waiting)
    while waiting or under_way:
        while waiting and free:
            _, age, number = heapq.heappop(waiting)
            heapq.heappush(under_way, (calls + steps[age][number], age, number))
            free -= 1
        calls = under_way[0][0]
        while under_way and under_way[0][0] == calls:
            _, age, ended = heapq.heappop(under_way)
            free += 1
            for number, need in enumerate(needs[age]):
                if ended in need:
                    need.remove(ended)
                    if not need:
                        heapq.heappush(waiting, (-paths[age][number], age, number))
    return calls
