"""A network from somewhere, made into the prior that samplers ask for.

Whatever the network predicts becomes eps (Salimans and Ho 2022, appendix D, gives v):

    x_t = a x_0 + s eps,   a = sqrt(alpha_bar_t),   s = sqrt(1 - alpha_bar_t)
    network says x_0:      eps = (x_t - a x_0) / s
    network says v:        eps = a v + s x_t
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from repaint_batch.config import fingerprint
from repaint_batch.errors import PriorError
from repaint_batch.priors.guidance import ClassifierGuidance
from repaint_batch.priors.process import Process
from repaint_batch.sampler.prior import Guidance, Prediction
from repaint_batch.sampler.schedule import NoiseSchedule


@dataclass(frozen=True, eq=False)
class LoadedPrior:
    """A network ready to be sampled; satisfies `repaint_batch.sampler.prior.Prior`.

    Attributes:
        network: called as ``network(x_t, t, class_labels)``, with diffusers' ``config`` and a result with ``.sample``.
        process: what it was trained with.
        scheduler: the diffusers scheduler that `process` was read from.
        labels: (B,) int64 classes of the batch at hand, where it is class-conditional or guided.
        default_label: class of windows that bring none.
        classifier: noisy-image classifier that guides the sampler, or None.
        classifier_scale: strength of that guidance.
        weights_sha256: of the files that the weights came from; by default the weights themselves are hashed.
        card: the model card's text, if there is one.
        compiled: whether its network is compiled, and so its noise is to be, see `repaint_batch.inpainting.device`.
    """

    network: nn.Module
    process: Process
    scheduler: Any
    labels: Tensor | None = None
    default_label: int | None = None
    classifier: Any | None = None
    classifier_scale: float = 1.0
    weights_sha256: tuple[str, ...] = ()
    card: str | None = None
    compiled: bool = False

    def __post_init__(self) -> None:
        outputs, learned = self._config.out_channels, self.process.learned
        expected = self.channels * (2 if learned else 1)
        if outputs != expected:
            raise PriorError(
                f"the network has {outputs} output channels for {self.channels} input channels, but variance_type "
                f"{self.process.variance!r} asks for {expected}; correct the scheduler's config"
            )
        own, guided = self._own_classes, self.classifier.config.out_channels if self.classifier else None
        if own and guided and own != guided:
            raise PriorError(f"the network knows {own} classes, its classifier {guided}; they must come from the same data set")
        if self.default_label is not None:
            self.check_labels([self.default_label])

    @property
    def _config(self) -> Any:
        return self.network.config

    @property
    def _parameter(self) -> nn.Parameter:
        """One of the network's weights: where it computes, and in what precision."""
        return next(self.network.parameters())

    @property
    def schedule(self) -> NoiseSchedule:
        """The process it was trained with."""
        return self.process.schedule

    @property
    def fixed_large_variance(self) -> bool:
        """Whether an unlearned reverse variance is beta_t rather than that of the posterior."""
        return self.process.variance == "fixed_large"

    @property
    def channels(self) -> int:
        """Colour channels of a picture."""
        return int(self._config.in_channels)

    @property
    def resolution_px(self) -> int:
        """Side of the square pictures it was trained on.

        Raises:
            PriorError: its config does not say, or they were not square.
        """
        size = self._config.sample_size
        sides = set(size) if isinstance(size, Sequence) else {size}
        if len(sides) != 1 or None in sides:
            raise PriorError(f"the network's sample_size is {size!r}, not one number; set it in its config.json")
        return int(sides.pop())

    @property
    def size_multiple_px(self) -> int:
        """Number that both sides of a picture must be multiples of; it is halved at every level but the last."""
        config = dict(self._config)
        levels = config["block_out_channels"] if "block_out_channels" in config else config["channel_mult"]
        return int(2 ** (len(levels) - 1))

    @property
    def num_classes(self) -> int | None:
        """Classes it may be asked for, by the network or by its classifier; None where there are none."""
        return self._own_classes or (self.classifier.config.out_channels if self.classifier else None)

    @property
    def _own_classes(self) -> int | None:
        config = dict(self._config)
        return config.get("num_class_embeds") or config.get("num_classes")

    @property
    def conditional(self) -> bool:
        """Whether the network itself takes a class."""
        return self._own_classes is not None

    @property
    def guidance(self) -> Guidance | None:
        """What pulls the reverse step towards the classes of the batch at hand, if there is a classifier."""
        if self.classifier is None or self.labels is None:
            return None
        return ClassifierGuidance(self.classifier, self.labels, self.classifier_scale)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with the weights or with any setting that decides numbers."""
        weights = self.weights_sha256 or tuple(_weights_sha256(net) for net in (self.network, self.classifier) if net)
        shape = {key: value for key, value in dict(self._config).items() if not key.startswith("_")}
        guided = None if self.classifier is None else self.classifier_scale
        dtype = str(self._parameter.dtype)
        return fingerprint(weights, shape, self.process.describe(), self.default_label, guided, dtype)

    def check_labels(self, labels: Sequence[int]) -> None:
        """Raise PriorError if one of `labels` is no class of this prior."""
        classes = self.num_classes
        if classes is None:
            raise PriorError("the prior is unconditional and has no classifier: it takes no class label")
        wrong = [label for label in labels if not 0 <= label < classes]
        if wrong:
            raise PriorError(f"class label {wrong[0]} is outside 0 .. {classes - 1}, the classes that this prior knows")

    def labelled(self, labels: Sequence[int] | None, count: int) -> "LoadedPrior":
        """Return this prior with the classes of a batch of `count` windows; None takes the default label for all.

        Raises:
            PriorError: a label outside the range, a prior that has no classes, or one that needs a class and gets none.
        """
        if labels is None and self.default_label is not None:
            labels = [self.default_label] * count
        if labels is None:
            if self.num_classes is not None:
                raise PriorError(f"the prior is class-conditional: say which of its {self.num_classes} classes")
            return self
        if len(labels) != count:
            raise PriorError(f"{len(labels)} class labels for {count} pictures")
        self.check_labels(labels)
        return replace(self, labels=torch.tensor(labels, dtype=torch.int64, device=self._parameter.device))

    def check_size(self, shape: Sequence[int]) -> None:
        """Raise PriorError if the network cannot take pictures of `shape` (..., C, H, W)."""
        channels, height, width = shape[-3:]
        if channels != self.channels:
            raise PriorError(f"pictures have {channels} channels, the network takes {self.channels}")
        side = self.classifier.config.sample_size if self.classifier else None
        if side and (height, width) != (side, side):
            raise PriorError(f"pictures of {width}×{height} px do not fit the classifier: only {side}×{side} px do")
        multiple = self.size_multiple_px
        if height % multiple or width % multiple or not height or not width:
            raise PriorError(
                f"pictures of {width}×{height} px do not fit the network, which halves them "
                f"{multiple.bit_length() - 1} times: both sides must be multiples of {multiple}; crop or pad them"
            )

    def __call__(self, x_t: Tensor, t: Tensor) -> Prediction:
        """Predict the noise in `x_t` (B, C, H, W) float32 at times `t` (B,) int64."""
        # One layout in and out: compiled networks are specialised to it, and the samplers' own arithmetic is fastest so.
        x = x_t.to(self._parameter.dtype, memory_format=torch.contiguous_format)
        output = self.network(x, t, class_labels=self.labels if self.conditional else None).sample
        output = output.to(torch.float32, memory_format=torch.contiguous_format)
        if not self.process.learned:
            return Prediction(self._eps(x_t, t, output))
        output, learned = output.chunk(2, dim=1)
        return Prediction(self._eps(x_t, t, output), self._fraction(learned, t))

    def _eps(self, x_t: Tensor, t: Tensor, output: Tensor) -> Tensor:
        if self.process.prediction == "epsilon":
            return output
        signal, sigma = self._tables_at(t)[:2, :, None, None, None]
        given_x0 = self.process.prediction == "sample"
        eps: Tensor = (x_t - signal * output) / sigma if given_x0 else signal * output + sigma * x_t
        return eps

    def _fraction(self, learned: Tensor, t: Tensor) -> Tensor:
        if self.process.variance == "learned_range":
            return learned
        # A variance holds for one step of the whole process; its place between the bounds holds for respaced ones too.
        low, high = self._tables_at(t)[2:, :, None, None, None]
        fraction: Tensor = 2 * (learned.clamp(min=1e-20).log() - low) / (high - low) - 1
        return fraction.clamp(-1, 1)

    def _tables_at(self, t: Tensor) -> Tensor:
        """Return sqrt(alpha_bar), sqrt(1 - alpha_bar), log posterior variance, log beta at times `t` (B,): (4, B) float32.

        Beside the times, since a network that is offloaded is elsewhere between its calls.
        """
        if t.device not in self._tables:
            schedule = self.schedule
            posterior = torch.cat([schedule.posterior_variance[1:2], schedule.posterior_variance[1:]])
            tables = schedule.alpha_bar.sqrt(), (1 - schedule.alpha_bar).sqrt(), posterior.log(), schedule.betas.log()
            self._tables[t.device] = torch.stack(tables).to(device=t.device, dtype=torch.float32)
        return self._tables[t.device][:, t]

    @cached_property
    def _tables(self) -> dict[torch.device, Tensor]:
        return {}


def _weights_sha256(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
