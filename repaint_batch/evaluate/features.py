"""Features that are available offline, for distances between sets of pictures.

None of them are Inception's, so figures cannot be compared with published FID or KID; they compare samplers in one table.

* `bottleneck`: the middle block of the prior's own network, averaged over places, for pictures noised to a low level. It
  sees what the prior knows, and shares its blind spots.
* `random_convolutions`: three layers of fixed random filters with pooling: local statistics of colour and texture, no
  knowledge of any prior.
* `perceptual`: LPIPS by the weights that the owner brings.
"""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from repaint_batch.errors import ConfigError
from repaint_batch.priors.loaded import LoadedPrior

Features = Callable[[Tensor], Tensor]
_LEVEL = 50
_RANDOM_SEED = 20220622


def bottleneck(prior: LoadedPrior, batch: int) -> Features | None:
    """Return a function from pictures (N, C, H, W) to features (N, D), or None where the network has no middle block."""
    block = getattr(prior.network, "mid_block", None) or getattr(prior.network, "middle_block", None)
    if not isinstance(block, nn.Module):
        return None
    alpha_bar = prior.schedule.alpha_bar[_LEVEL].float()

    def features(pictures: Tensor) -> Tensor:
        seen: list[Tensor] = []

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            seen.append(output.float().mean((2, 3)).cpu())

        handle = block.register_forward_hook(keep)
        try:
            device = next(prior.network.parameters()).device
            labelled, t = prior.labelled(None, batch), torch.full((batch,), int(prior.schedule.timesteps[_LEVEL]), device=device)
            for part in torch.split(pictures, batch):
                # The same noise for every picture: it must not tell two sets apart.
                noise = torch.randn(pictures.shape[1:], generator=torch.Generator().manual_seed(0))
                x_t = alpha_bar.sqrt() * part + (1 - alpha_bar).sqrt() * noise
                filled = torch.cat([x_t, x_t[:1].expand(batch - len(part), *x_t.shape[1:])])
                labelled(filled.to(device), t)
                seen[-1] = seen[-1][: len(part)]
        finally:
            handle.remove()
        return torch.cat(seen)

    return features


def random_convolutions(channels: int) -> Features:
    """Return a function from pictures (N, C, H, W) to features (N, 96): means and spreads of fixed random filters."""
    generator = torch.Generator().manual_seed(_RANDOM_SEED)
    widths = (channels, 16, 16, 16)
    layers = [
        torch.randn((out, into, 3, 3), generator=generator) * (2 / (9 * into)) ** 0.5
        for into, out in pairwise(widths)
    ]

    def features(pictures: Tensor) -> Tensor:
        x, found = pictures, []
        for weight in layers:
            x = torch.nn.functional.leaky_relu(torch.nn.functional.conv2d(x, weight, padding=1), 0.2)
            found += [x.mean((2, 3)), x.std((2, 3))]
            x = torch.nn.functional.avg_pool2d(x, 2) if min(x.shape[2:]) > 2 else x
        return torch.cat(found, 1)

    return features


def perceptual(path: str | Path) -> Callable[[Tensor, Tensor], Tensor]:
    """Return LPIPS, from two sets of pictures (B, 3, H, W) in [-1, 1] to (B,), by weights in a TorchScript file.

    The file is called as ``net(pictures in 0 .. 255, resize_images=False, return_lpips=True)`` and returns features whose
    squared distance is LPIPS, as the ``vgg16.pt`` does that is published with StyleGAN2-ADA's metrics.

    Raises:
        ConfigError: there is no such file, or it is not TorchScript.
    """
    try:
        net = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"--lpips {path}: not a TorchScript file ({str(error).splitlines()[0]})") from error

    def distance(x: Tensor, y: Tensor) -> Tensor:
        a, b = (net((z + 1) * 127.5, resize_images=False, return_lpips=True) for z in (x, y))
        result: Tensor = ((a - b) ** 2).flatten(1).sum(1)
        return result

    return distance
