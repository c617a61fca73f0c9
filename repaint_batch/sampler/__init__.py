"""Conditional sampling of a diffusion prior, in pure torch.

A sampler is data: `repaint_batch.sampler.sampler.Sampler` makes a table of steps, each one network evaluation and the
coefficients of the update that follows it (`table`). `RePaint.table` and `AnnealedLangevin.table` make the coefficients.
`Slots.step` takes a step of a whole batch by `step.finish`; its slots hold chains, each at its own step (`slots`).
`repaint_batch.sampler.run.sample` runs one batch from beginning to end. The prior is any callable that predicts noise, so that
oracles, checkpoints and recorded vectors fit alike. Symbols:

=============  ===========================================================================
``x_t``        (B, C, H, W) float32, state at noise level t
``alpha_bar``  signal variance left at a level: x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps
``known``      (B, C, H, W) float32 in [-1, 1], the given picture; its hole is never read
``keep_mask``  (B, 1, H, W) bool, True = known pixel
``t``          time the network was trained with, 0 .. 999; ``index`` counts the steps of a respaced process
``position``   steps that a chain has done
=============  ===========================================================================
"""
