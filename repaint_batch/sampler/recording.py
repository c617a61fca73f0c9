"""The kernels of a function, recorded once and replayed as one CUDA graph.

A step launches hundreds of kernels, some 200 of them for the noise alone, and a small network is done with one sooner than the
host launches the next. A graph takes one launch. It runs the very kernels that it recorded, on the same memory, so results are
bit for bit those of the function.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_log = logging.getLogger(__name__)
_WARM_UPS = 2  # calls in which code is compiled, algorithms are chosen and caches filled, all of which a recording must not see


@dataclass(frozen=True, eq=False)
class Recording:
    """A recorded function. Its memory is given back with it, since nothing in it refers to the function.

    Attributes:
        graph: replays it.
        outputs: what the function returned; every replay writes them anew.
    """

    graph: torch.cuda.CUDAGraph
    outputs: tuple[Tensor, ...]

    def __call__(self) -> tuple[Tensor, ...]:
        """Compute the outputs from what the function's inputs hold now; the host does not wait."""
        self.graph.replay()
        return self.outputs


def record(function: Callable[[], tuple[Tensor, ...]], device: torch.device) -> Recording | None:
    """Return `function` as a recording; None where it cannot be recorded: then the function itself serves.

    Args:
        function: reads tensors that stay where they are, writes none of them, and never waits for the device.
        device: a CUDA device.

    Raises:
        torch.OutOfMemoryError: the device's memory ran out.
    """
    current, stream = torch.cuda.current_stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    with torch.cuda.device(device), torch.cuda.stream(stream):
        stream.wait_stream(current)
        for _ in range(_WARM_UPS):
            function()
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads of the process may use the device meanwhile.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                outputs = function()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            # The function ran twice, so the device is well; if it was memory after all, the next call says so plainly.
            _log.warning("a step's kernels are launched one by one, since they cannot be recorded: %s", str(error).split("\n")[0])
            return None
    current.wait_stream(stream)
    return Recording(graph, outputs)
