"""Classifier guidance.

    mean(x_{t-1} | x_t, y) = mean(x_{t-1} | x_t) + variance * scale * grad log p(y | x_t)

Source: Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis", NeurIPS 2021, algorithm 1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class ClassifierGuidance:
    """The gradient of a noisy-image classifier.

    Attributes:
        classifier: gives (B, classes) logits for (x_t, t).
        labels: (B,) int64, the class wanted of each picture.
        scale: strength.
    """

    classifier: nn.Module
    labels: Tensor
    scale: float

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return scale * grad log p(y | x_t), (B, C, H, W) float32."""
        dtype = next(self.classifier.parameters()).dtype
        # Samplers may run in inference mode, whose tensors autograd will not touch: hence the clones.
        with torch.inference_mode(False), torch.enable_grad():
            x = x_t.detach().clone().requires_grad_()
            logits = self.classifier(x.to(dtype), t.clone())
            log_p = torch.log_softmax(logits.to(torch.float32), dim=-1)
            chosen = log_p[torch.arange(len(x), device=x.device), self.labels.to(x.device)].sum()
            (gradient,) = torch.autograd.grad(chosen, x)
        return self.scale * gradient.detach()
