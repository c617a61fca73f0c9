"""Conditional sampling of a diffusion prior, in pure torch.

A sampler is one function ``sampler(prior, known, keep_mask, noise, ...) -> x_0``. The prior is any callable that predicts
noise, `noise` any callable that draws it, so that oracles, checkpoints and recorded vectors fit alike. Symbols:

=============  ===========================================================================
``x_t``        (B, C, H, W) float32, state at noise level t
``alpha_bar``  signal variance left at a level: x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps
``known``      (B, C, H, W) float32 in [-1, 1], the given picture; its hole is never read
``keep_mask``  (B, 1, H, W) bool, True = known pixel
``t``          time the network was trained with, 0 .. 999; ``index`` counts the steps of a respaced process
=============  ===========================================================================
"""
