"""RePaint as a diffusers pipeline: the maintained successor of the one that diffusers deprecated."""

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput, SchedulerMixin, UNet2DModel
from diffusers.utils import is_accelerate_available
from torch import Tensor

from repaint_batch.errors import ConfigError, MaskInvalid, PriorError
from repaint_batch.inpainting.device import device_of, out_of_memory
from repaint_batch.inpainting.engine import Engine
from repaint_batch.inpainting.keywords import hints
from repaint_batch.inpainting.tensors import from_restored, to_keep_mask, to_known
from repaint_batch.priors.diffusers_folder import read_diffusers_folder
from repaint_batch.priors.guided_diffusion import GuidedClassifier, GuidedUNet
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.priors.process import Process
from repaint_batch.sampler.presets import sampler_named
from repaint_batch.sampler.repaint import RePaint
from repaint_batch.sampler.run import ChainState, OnStep, sample
from repaint_batch.sampler.sampler import Sampler
from repaint_batch.sampler.slots import Chain

Generators = torch.Generator | Sequence[torch.Generator] | None
StepCallback = Callable[["RePaintPipeline", int, int, dict[str, Tensor]], dict[str, Tensor] | None]


_MOST_WORDS = 300
_TENSORS = ("latents", "x_t")  # names of the state: that of diffusers, and the equations'


class RePaintPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Restores pictures with a pixel diffusion model.

    Load it with `from_pretrained`, around a prior with `from_prior`, or around another pipeline's network with `from_pipe`;
    the network is never copied.

    Args:
        unet: network that predicts noise, x_0 or v.
        scheduler: any diffusers scheduler with betas; says what the network was trained with, never how to sample.
        classifier: noisy-image classifier that guides the sampler.
        classifier_scale: strength of that guidance.
    """

    model_cpu_offload_seq = "classifier->unet"
    _optional_components = ["classifier"]  # noqa: RUF012

    def __init__(
        self,
        unet: UNet2DModel | GuidedUNet,
        scheduler: SchedulerMixin,
        classifier: GuidedClassifier | None = None,
        classifier_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler, classifier=classifier)
        self.register_to_config(classifier_scale=classifier_scale)
        self._loaded: LoadedPrior | None = None
        self._engine: tuple[tuple[Any, ...], Engine] | None = None

    @classmethod
    def from_prior(cls, prior: LoadedPrior) -> "RePaintPipeline":
        """Return a pipeline around `prior`, without copying its network."""
        pipeline = cls(prior.network, prior.scheduler, prior.classifier, prior.classifier_scale)
        pipeline._loaded = prior
        return pipeline

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> "RePaintPipeline":
        """Return the pipeline of a folder or hub id in diffusers' layout.

        Takes what `DiffusionPipeline.from_pretrained` takes. It reads safetensors alone unless told
        ``use_safetensors=False``, and refuses weights with missing or unexpected keys instead of warning.

        Raises:
            PriorError: the network cannot be read or is not one that is sampled here.
        """
        kwargs.setdefault("use_safetensors", True)
        kwargs.setdefault("low_cpu_mem_usage", is_accelerate_available())  # True without accelerate warns
        folder = Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            names = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "token", "use_safetensors")
            download = {name: kwargs[name] for name in names if name in kwargs}
            try:
                folder = Path(cls.download(pretrained_model_name_or_path, **download))
            except Exception as error:  # the hub's client has some twenty kinds; each is the same refusal here
                words = " ".join(str(error).split())[:_MOST_WORDS]
                raise PriorError(
                    f"from_pretrained: {str(pretrained_model_name_or_path)!r} is not a folder, and could not be fetched from "
                    f"the Hugging Face hub: {words}; check the name, or fetch it where there is a network and name the folder"
                ) from error
        dtype = kwargs.get("dtype") or kwargs.get("torch_dtype") or torch.float32
        pickled = not kwargs["use_safetensors"]
        if "unet" not in kwargs:
            kwargs["unet"], scheduler, _ = read_diffusers_folder(folder, allow_pickle=pickled, dtype=dtype)
            kwargs.setdefault("scheduler", scheduler)
        if "classifier" not in kwargs and (folder / "classifier").is_dir():
            guide = read_diffusers_folder(folder / "classifier", allow_pickle=pickled, dtype=dtype)
            kwargs["classifier"] = guide[0]
        return super().from_pretrained(folder, **kwargs)  # type: ignore[no-any-return]

    @classmethod
    def from_pipe(cls, pipeline: DiffusionPipeline, **kwargs: Any) -> "RePaintPipeline":
        """Return a pipeline that shares the network and scheduler of `pipeline`, such as a `DDPMPipeline`.

        Unlike `DiffusionPipeline.from_pipe` it leaves the precision of the shared network alone.

        Args:
            pipeline: any with a `unet` and a `scheduler` of pixels.
            **kwargs: arguments of the constructor, in place of what `pipeline` has.
        """
        shared = {name: part for name, part in pipeline.components.items() if name in ("unet", "scheduler", "classifier")}
        if "classifier_scale" in pipeline.config:
            shared["classifier_scale"] = pipeline.config.classifier_scale
        return cls(**shared | kwargs)

    @property
    def prior(self) -> LoadedPrior:
        """The network as samplers see it."""
        return self._prior(self.classifier, self.config.classifier_scale)

    def _prior(self, classifier: GuidedClassifier | None, scale: float) -> LoadedPrior:
        ours = (self.unet, self.scheduler, classifier, scale)
        kept = self._loaded
        if kept and (kept.network, kept.scheduler, kept.classifier, kept.classifier_scale) == ours:
            return kept
        where = type(self.scheduler).__name__
        process = Process.from_scheduler(self.scheduler.config, where)
        return LoadedPrior(self.unet, process, self.scheduler, classifier=classifier, classifier_scale=scale)

    def restore(
        self,
        known: Tensor,
        keep_mask: Tensor,
        keys: Sequence[int],
        *,
        sampler: Sampler,
        batch_windows: int,
        coarse: Tensor | None = None,
        class_labels: Sequence[int] | None = None,
    ) -> Tensor:
        """Return restored windows, each the same whatever else is in the call.

        Args:
            known: (N, C, H, W) float32 in [-1, 1]; the hole is never read.
            keep_mask: (N, 1, H, W) bool, True = known pixel.
            keys: N 64-bit noise keys, see `repaint_batch.sampler.noise.sample_key`.
            sampler: algorithm and settings.
            batch_windows: windows in every network call.
            coarse: (N, C, H, W) float32 in [-1, 1], drafts that chains start from and are held to, see
                `repaint_batch.sampler.drafts`; None: from noise.
            class_labels: N classes; None takes the prior's default, if it has one.

        Returns:
            (N, C, H, W) float32 on the device of `known`; known pixels are exactly those of `known`.

        Raises:
            PriorError: the windows or labels do not fit the network.
            MaskInvalid: the masks do not fit the windows.
            BatchTooLarge: a batch does not fit the device's memory; the message names one that does.
        """
        prior, count = self.prior, len(known)
        prior.check_size(known.shape)
        if keep_mask.shape != (count, 1, *known.shape[2:]) or len(keys) != count:
            raise MaskInvalid(f"masks {tuple(keep_mask.shape)} and {len(keys)} keys do not fit {tuple(known.shape)}")
        if class_labels is not None:
            if len(class_labels) != count:
                raise PriorError(f"{len(class_labels)} class labels for {count} pictures")
            prior.check_labels(class_labels)
        if not count:
            return known.clone()
        drafts = [None] * count if coarse is None else list(coarse.float().cpu())
        labels = [0] * count if class_labels is None else [int(label) for label in class_labels]
        windows = zip(keys, known.float().cpu(), keep_mask.bool().cpu(), drafts, labels, strict=True)
        chains = [Chain(key, y, keep, draft, label) for key, y, keep, draft, label in windows]
        height, width = known.shape[2:]
        self.engine(sampler, batch_windows, (height, width), labelled=class_labels is not None).run(chains)
        return torch.stack([chain.restored for chain in chains if chain.restored is not None]).to(known.device)

    def engine(
        self, sampler: Sampler, batch_windows: int, size_px: tuple[int, int] | None = None, *, labelled: bool = False
    ) -> Engine:
        """Return an engine on this pipeline's prior: the last one, where it is the same, since it may hold compiled code.

        Args:
            sampler, batch_windows, size_px, labelled: as `Engine` takes them.
        """
        prior = self.prior
        asked = (prior, device_of(prior), sampler, batch_windows, size_px, labelled)
        if self._engine is None or self._engine[0] != asked or not self._engine[1].is_idle:
            self._engine = asked, Engine(prior, sampler, batch_windows, size_px=size_px, labelled=labelled)
        return self._engine[1]

    @hints(
        original_image="the picture is `image` here",
        mask="the mask is `mask_image` here, dark where to restore",
        callback="callback_on_step_end is called after every step, as f(pipeline, step, t, tensors)",
        callback_steps="callback_on_step_end is called after every step",
        seed="noise follows from `generator` here, or from `keys`",
        num_images_per_prompt="give the picture as often as you want it restored",
    )
    def __call__(
        self,
        image: Any,
        mask_image: Any,
        num_inference_steps: int | None = None,
        eta: float | None = None,
        jump_length: int | None = None,
        jump_n_sample: int | None = None,
        generator: Generators = None,
        output_type: str = "pil",
        return_dict: bool = True,
        *,
        preset: str | Sampler | None = None,
        class_labels: int | Sequence[int] | Tensor | None = None,
        classifier: GuidedClassifier | None = None,
        classifier_scale: float | None = None,
        keys: Sequence[int] | None = None,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> ImagePipelineOutput | tuple[Any]:
        """Return the pictures with their holes restored.

        Args:
            image: one picture or a batch of one size: PIL images, arrays (H, W), (H, W, C) or (N, H, W, C) of uint8 or float in
                [0, 1], tensors (C, H, W) or (N, C, H, W) of uint8 or float in [-1, 1], or a list of these.
            mask_image: one mask (H, W) for each picture, or one for all. As in the pipeline that diffusers deprecated, **dark
                pixels (0) are restored** and light ones (1, 255, True) kept.
            num_inference_steps: steps of the respaced process, by default 250 of those the network was trained with.
            eta: 0 is DDIM and the default, as in diffusers; 1 is the paper's ancestral step, as in the preset ``paper``, and the
                default where a classifier guides, which takes noise to act by.
            jump_length: j of the paper, 10 by default.
            jump_n_sample: r of the paper, 10 by default; 1 never jumps.
            generator: one for all pictures or one for each; gives every picture the key of its noise.
            output_type: ``pil``, ``np`` (or ``numpy``), or ``pt``; the latter two in [0, 1].
            return_dict: whether an `ImagePipelineOutput` comes back, or a tuple of its images.
            preset: settings by name instead of the four above, see `repaint_batch.sampler.presets.PRESETS`. Or a sampler, such as
                one of your own.
            class_labels: class of each picture, or one for all, where the network or a classifier has classes.
            classifier: guides this call, in place of the pipeline's own.
            classifier_scale: strength of guidance, by default the pipeline's own.
            keys: 64-bit noise keys, one a picture, in place of generators: ``sample_key(seed, sample_id)`` of
                `repaint_batch.sampler.noise` is that of a job's row of one window, which `restore` brings byte for byte where its
                batch_windows is the job's; for rows of any size there are `repaint_batch.inpaint` and `repaint_batch.replay`.
            callback_on_step_end: called as ``f(pipeline, step, t, tensors)`` after each network evaluation; may return
                ``{"latents": ...}`` to put another state in its place.
            callback_on_step_end_tensor_inputs: which of ``latents`` (the state, of pixels here; ``x_t`` is the same) and
                ``pred_x0`` it is given.

        Raises:
            ConfigError: settings that contradict each other or are out of range.
            PriorError: the network or label does not fit; ImageInvalid, MaskInvalid: the picture or mask does not.
        """
        output_type = {"numpy": "np", "np.array": "np"}.get(output_type, output_type)
        if output_type not in ("pil", "np", "pt"):
            raise ConfigError(f"output_type {output_type!r} is not one of pil, np, pt")
        if unknown := set(callback_on_step_end_tensor_inputs) - {*_TENSORS, "pred_x0"}:
            names = ", ".join(sorted(unknown))
            raise ConfigError(f"callback_on_step_end_tensor_inputs: {names} is not available; latents and pred_x0 are")
        scale = self.config.classifier_scale if classifier_scale is None else classifier_scale
        prior = self._prior(classifier or self.classifier, scale)
        eta = _eta(eta, prior, preset)
        sampler = _sampler(preset, num_inference_steps, eta, jump_length, jump_n_sample, len(prior.schedule))
        known = to_known(image, prior.channels)
        prior.check_size(known.shape)
        keep_mask = to_keep_mask(mask_image, known)
        count = len(known)
        labels = class_labels.tolist() if isinstance(class_labels, Tensor) else class_labels
        labels = [labels] * count if isinstance(labels, int) else labels
        prior = prior.labelled(labels, count)
        chosen = _keys(keys, generator, count)
        with self.progress_bar(total=sampler.nfe) as bar:
            on_step = self._watcher(bar, _times(sampler, prior), callback_on_step_end, callback_on_step_end_tensor_inputs)
            restored = self._sample(prior, known, keep_mask, chosen, sampler, on_step)
        self.maybe_free_model_hooks()
        images = from_restored(restored, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _sample(
        self, prior: LoadedPrior, known: Tensor, keep_mask: Tensor, keys: Sequence[int], sampler: Sampler, on_step: OnStep
    ) -> Tensor:
        """Return restored pictures, all in one network call a step."""
        device = self._execution_device
        guidance, compiled = prior.guidance, prior.compiled
        try:
            y, keep = known.to(device=device, dtype=torch.float32), keep_mask.to(device)
            return sample(sampler, prior, y, keep, keys, guidance=guidance, compiled=compiled, on_step=on_step)
        except torch.OutOfMemoryError:
            pass  # its traceback holds tensors: what fits shows only once that is gone
        raise out_of_memory(prior, known.shape)

    def _watcher(self, bar: Any, times: list[int], callback: StepCallback | None, names: Sequence[str]) -> OnStep:
        """Return what moves the progress bar and calls the callback after each step."""

        def on_step(state: ChainState) -> None:
            bar.update()
            if callback is not None:
                step = state.position - 1
                tensors = {name: getattr(state, "x_t" if name in _TENSORS else name) for name in names}
                changed = callback(self, step, times[step], tensors)
                for name in set(_TENSORS) & set(changed or {}):
                    state.x_t.copy_(changed[name])  # type: ignore[index]

        return on_step


def _eta(eta: float | None, prior: LoadedPrior, preset: str | Sampler | None) -> float | None:
    """Return eta as it was given; else diffusers' 0, or 1 where a classifier guides: by the noise that eta = 0 has not."""
    if eta is not None or preset is not None:
        return eta
    return 0.0 if prior.classifier is None else 1.0


def _sampler(
    preset: str | Sampler | None,
    steps: int | None,
    eta: float | None,
    length: int | None,
    n_sample: int | None,
    trained_steps: int,
) -> Sampler:
    """Return the sampler of a call's settings.

    Raises:
        ConfigError: a preset and settings of its own, an unknown preset, or a setting out of range.
    """
    given = {"num_steps": steps, "jump_length": length, "jump_n_sample": n_sample, "eta": eta}
    own = {name: value for name, value in given.items() if value is not None}
    if preset is not None:
        sampler = sampler_named(preset)
        if own:
            raise ConfigError(f"a preset decides every setting; leave out either it or {', '.join(own)}")
        return sampler
    sampler = RePaint(**{"num_steps": min(RePaint.num_steps, trained_steps)} | own)  # type: ignore[arg-type]
    if not 1 <= sampler.num_steps <= trained_steps:
        raise ConfigError(f"num_inference_steps {sampler.num_steps} is outside 1 .. {trained_steps}, the network's own")
    if sampler.jump_length < 1 or sampler.jump_n_sample < 1:
        raise ConfigError(f"jump_length {sampler.jump_length} and jump_n_sample {sampler.jump_n_sample} must be at least 1")
    if not 0 <= sampler.eta <= 1:
        raise ConfigError(f"eta {sampler.eta} is outside 0 .. 1")
    return sampler


def _keys(keys: Sequence[int] | None, generator: Generators, count: int) -> list[int]:
    """Return a noise key for each of `count` pictures: those given, or drawn from the generators."""
    if keys is not None:
        if generator is not None:
            raise ConfigError("keys and generator both decide the noise; give one of them")
        if len(keys) != count:
            raise ConfigError(f"{len(keys)} keys for {count} pictures")
        return list(keys)
    if generator is None:
        return [secrets.randbits(64) for _ in range(count)]
    generators = list(generator) if isinstance(generator, Sequence) else [generator] * count
    if wrong := [one for one in generators if not isinstance(one, torch.Generator)]:
        raise ConfigError(f"generator: {wrong[0]!r} is not a torch.Generator; write torch.Generator().manual_seed(seed)")
    if len(generators) != count:
        raise ConfigError(f"{len(generators)} generators for {count} pictures")
    return [int(torch.randint(2**63 - 1, (), generator=one, device=one.device)) for one in generators]


def _times(sampler: Sampler, prior: LoadedPrior) -> list[int]:
    """Return the network's time of every step."""
    times: list[int] = sampler.table(prior.schedule).t.tolist()
    return times
