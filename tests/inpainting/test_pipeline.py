"""The pipeline as people who know diffusers use it, and as actors do."""

import inspect
import json
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from diffusers import DDIMPipeline, DDPMPipeline, DDPMScheduler, DiffusionPipeline, ImagePipelineOutput
from diffusers import RePaintPipeline as DeprecatedPipeline
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from repaint_batch import RePaintPipeline
from repaint_batch.errors import ConfigError, ImageInvalid, MaskInvalid, PriorError
from repaint_batch.sampler.presets import PRESETS
from repaint_batch.sampler.repaint import RePaint

from ..golden_vectors import recorded_network
from ..tiny_networks import TINY_PX, generator, prior_of, tiny_classifier, tiny_unet

SHORT: dict[str, Any] = {"num_inference_steps": 4, "jump_length": 2, "jump_n_sample": 2}


def pipeline_of(network: Any = None, **parts: Any) -> RePaintPipeline:
    pipeline = RePaintPipeline(network or tiny_unet(), parts.pop("scheduler", DDPMScheduler()), **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def pixels(count: int = 1, height: int = TINY_PX, width: int = TINY_PX) -> np.ndarray:
    """Return (N, H, W, 3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def keep_masks(count: int = 1, height: int = TINY_PX, width: int = TINY_PX) -> np.ndarray:
    """Return (N, H, W) bool, True = known; each another."""
    masks = np.zeros((count, height, width), dtype=bool)
    for number, mask in enumerate(masks):
        mask[:, : width // 2 - number % 3] = True
    return masks


def pictures(count: int = 1) -> list[Image.Image]:
    return [Image.fromarray(one) for one in pixels(count)]


def mask_images(count: int = 1) -> list[Image.Image]:
    return [Image.fromarray(one.astype(np.uint8) * 255) for one in keep_masks(count)]


def test_the_call_of_the_deprecated_pipeline_is_understood() -> None:
    theirs = list(inspect.signature(DeprecatedPipeline.__call__).parameters)
    ours = list(inspect.signature(RePaintPipeline.__call__).parameters)
    assert ours[: len(theirs)] == theirs
    result = pipeline_of()(pictures()[0], mask_images()[0], 4, 1.0, 2, 2, generator(), "pil", True)
    assert isinstance(result, ImagePipelineOutput)


def test_dark_pixels_of_a_mask_are_restored_and_light_ones_kept() -> None:
    (result,) = pipeline_of()(pictures()[0], mask_images()[0], **SHORT).images
    keep = keep_masks()[0]
    before, after = pixels()[0], np.asarray(result)
    assert (after[keep] == before[keep]).all()
    assert (after[~keep] != before[~keep]).any(axis=-1).mean() > 0.9


@pytest.mark.parametrize("masks", ["pil", "bool", "uint8", "float", "tensor", "hw"])
@pytest.mark.parametrize("images", ["pil", "uint8", "float", "tensor", "uint8 tensor", "list of arrays"])
def test_every_kind_of_picture_and_mask_means_the_same(images: str, masks: str) -> None:
    array, keep = pixels(2), keep_masks(2)
    given_images: Any = {
        "pil": [Image.fromarray(one) for one in array],
        "uint8": array,
        "float": (array / 255).astype(np.float32),
        "tensor": torch.from_numpy(array).movedim(-1, 1).float() / 127.5 - 1,
        "uint8 tensor": torch.from_numpy(array).movedim(-1, 1),
        "list of arrays": list(array),
    }[images]
    given_masks: Any = {
        "pil": [Image.fromarray(one.astype(np.uint8) * 255) for one in keep],
        "bool": keep,
        "uint8": keep.astype(np.uint8) * 255,
        "float": keep.astype(np.float32)[..., None],
        "tensor": torch.from_numpy(keep)[:, None].float(),
        "hw": list(keep),
    }[masks]
    result = pipeline_of()(given_images, given_masks, keys=[1, 2], output_type="np", **SHORT).images
    expected = pipeline_of()(pictures(2), mask_images(2), keys=[1, 2], output_type="np", **SHORT).images
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-4)


def test_one_mask_serves_a_whole_batch() -> None:
    both = pipeline_of()(pictures(2), [mask_images()[0]] * 2, keys=[1, 2], output_type="np", **SHORT).images
    one = pipeline_of()(pictures(2), mask_images()[0], keys=[1, 2], output_type="np", **SHORT).images
    assert np.array_equal(both, one)


def test_outputs_come_in_the_type_that_is_asked_for() -> None:
    call = dict(image=pictures(2), mask_image=mask_images(2), keys=[1, 2], **SHORT)
    pil = pipeline_of()(**call).images
    array = pipeline_of()(output_type="np", **call).images
    (tensor,) = pipeline_of()(output_type="pt", return_dict=False, **call)
    assert isinstance(array, np.ndarray)
    assert array.shape == (2, TINY_PX, TINY_PX, 3)
    assert (tensor.shape, tensor.min() >= 0, tensor.max() <= 1) == ((2, 3, TINY_PX, TINY_PX), True, True)
    np.testing.assert_allclose(tensor.movedim(1, -1), array)
    for image, one in zip(pil, array, strict=True):
        assert np.array_equal(np.asarray(image), np.rint(one * 255))
    with pytest.raises(ConfigError, match="output_type 'jpeg'"):
        pipeline_of()(output_type="jpeg", **call)


def test_grey_networks_take_and_give_grey_pictures() -> None:
    pipeline = pipeline_of(tiny_unet(in_channels=1, out_channels=1))
    image = Image.fromarray(pixels()[0, ..., 0])
    (result,) = pipeline(image, mask_images()[0], **SHORT).images
    assert result.mode == "L"
    (result,) = pipeline(pixels()[0, ..., 0], mask_images()[0], **SHORT).images
    assert result.size == (TINY_PX, TINY_PX)


def test_any_size_that_the_network_accepts() -> None:
    result = pipeline_of()(pixels(1, 6, 14), keep_masks(1, 6, 14), output_type="np", **SHORT).images
    assert result.shape == (1, 6, 14, 3)


def test_noise_follows_generators_and_keys() -> None:
    def restored(**noise: Any) -> np.ndarray:
        return pipeline_of()(pictures(2), mask_images(2), output_type="np", **noise, **SHORT).images

    assert np.array_equal(restored(generator=generator(1)), restored(generator=generator(1)))
    assert not np.array_equal(restored(generator=generator(1)), restored(generator=generator(2)))
    assert not np.array_equal(restored(), restored())
    assert np.array_equal(restored(keys=[1, 2]), restored(keys=[1, 2]))
    swapped, straight = restored(keys=[1, 2]), restored(keys=[1, 3])
    assert np.array_equal(swapped[0], straight[0])
    assert not np.array_equal(swapped[1], straight[1])
    for wrong in ({"keys": [1]}, {"generator": [generator()]}):
        with pytest.raises(ConfigError, match=r"1 .* for 2 pictures"):
            restored(**wrong)
    with pytest.raises(ConfigError, match="keys and generator"):
        restored(keys=[1, 2], generator=generator())
    with pytest.raises(ConfigError, match="generator: 'x' is not a torch"):
        restored(generator="x")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("callback", "callback_on_step_end is called"), ("seed", "`generator`"), ("jump_lenght", "did you mean 'jump_length'")],
)
def test_an_argument_by_another_name_is_told_its_own(name: str, hint: str) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'; .*{hint}"):
        pipeline_of()(pictures(), mask_images(), **{name: None})


def test_a_preset_stands_for_all_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "fast", RePaint(4, 2, 2))
    call = {"image": pictures(), "mask_image": mask_images(), "keys": [1], "output_type": "np"}
    assert np.array_equal(pipeline_of()(preset="fast", **call).images, pipeline_of()(**call, **SHORT, eta=1.0).images)
    with pytest.raises(ConfigError, match="leave out either it or num_steps"):
        pipeline_of()(preset="fast", num_inference_steps=4, **call)
    with pytest.raises(ConfigError, match="preset 'finest' is not one of paper"):
        pipeline_of()(preset="finest", **call)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"num_inference_steps": 0}, r"num_inference_steps 0 is outside 1 \.\. 1000"),
        ({"num_inference_steps": 1001}, r"num_inference_steps 1001 is outside"),
        ({"jump_length": 0}, "jump_length 0"),
        ({"jump_n_sample": 0}, "jump_n_sample 0"),
        ({"eta": 1.5}, "eta 1.5 is outside"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        pipeline_of()(pictures(), mask_images(), **SHORT | wrong)


def test_a_network_of_few_steps_takes_them_all_by_default() -> None:
    pipeline = pipeline_of(scheduler=DDPMScheduler(num_train_timesteps=6))
    call = {"image": pictures(), "mask_image": mask_images(), "keys": [1], "output_type": "np", "jump_n_sample": 1}
    assert np.array_equal(pipeline(**call).images, pipeline(num_inference_steps=6, **call).images)


def test_the_callback_sees_every_step_and_may_change_it() -> None:
    seen: list[tuple[int, int]] = []

    def watch(pipe: RePaintPipeline, step: int, t: int, tensors: dict[str, Tensor]) -> None:
        assert tensors["x_t"].shape == tensors["pred_x0"].shape == (1, 3, TINY_PX, TINY_PX)
        assert float(tensors["pred_x0"].abs().max()) <= 1
        seen.append((step, t))

    call = dict(image=pictures(), mask_image=mask_images(), keys=[1], output_type="pt", **SHORT)
    watched = pipeline_of()(callback_on_step_end=watch, callback_on_step_end_tensor_inputs=("x_t", "pred_x0"), **call).images
    # Down from 999 to the first level, then up two, which costs no step, and down again.
    assert [step for step, _ in seen] == list(range(len(seen)))
    assert [t for _, t in seen] == [999, 666, 333, 666, 333, 0]
    assert torch.equal(watched, pipeline_of()(**call).images)

    def put_grey(pipe: RePaintPipeline, step: int, t: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"latents": torch.zeros_like(tensors["latents"])}

    changed = pipeline_of()(callback_on_step_end=put_grey, **call).images
    hole = ~torch.from_numpy(keep_masks()[0])
    assert torch.equal(changed[0][:, hole], torch.full_like(changed[0][:, hole], 0.5))


def test_the_progress_bar_counts_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = RePaintPipeline(tiny_unet(), DDPMScheduler())
    pipeline(pictures(), mask_images(), **SHORT)
    steps = RePaint(4, 2, 2).nfe
    assert f"{steps}/{steps}" in capsys.readouterr().err


def test_saved_and_loaded_it_is_the_same_pipeline(tmp_path: Path) -> None:
    pipeline = pipeline_of(tiny_unet(num_class_embeds=4), classifier=tiny_classifier(), classifier_scale=3.0)
    pipeline.save_pretrained(tmp_path)
    loaded = RePaintPipeline.from_pretrained(tmp_path)
    assert isinstance(loaded, RePaintPipeline)
    assert loaded.config.classifier_scale == 3.0
    call = dict(image=pictures(), mask_image=mask_images(), keys=[1], class_labels=2, output_type="np", **SHORT)
    assert np.array_equal(loaded(**call).images, pipeline(**call).images)
    assert loaded.prior.fingerprint == pipeline.prior.fingerprint


def test_a_guided_diffusion_network_is_saved_and_loaded_too(tmp_path: Path) -> None:
    pipeline = pipeline_of(recorded_network("unet_a"), scheduler=DDPMScheduler(variance_type="learned_range"))
    pipeline.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text())["unet"][1] == "GuidedUNet"
    loaded = RePaintPipeline.from_pretrained(tmp_path)
    call = dict(image=pictures(), mask_image=mask_images(), keys=[1], output_type="np", **SHORT)
    assert np.array_equal(loaded(**call).images, pipeline(**call).images)


def test_other_pipelines_folders_are_loaded(tmp_path: Path) -> None:
    DDPMPipeline(tiny_unet(), DDPMScheduler(beta_end=0.03)).save_pretrained(tmp_path)
    loaded = RePaintPipeline.from_pretrained(tmp_path)
    assert loaded.scheduler.config.beta_end == 0.03
    assert loaded.classifier is None
    half = RePaintPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.unet.dtype == torch.bfloat16
    given = DDPMScheduler()
    assert RePaintPipeline.from_pretrained(tmp_path, scheduler=given).scheduler is given


def test_missing_keys_and_pickles_are_refused_where_diffusers_only_warns(tmp_path: Path) -> None:
    DDPMPipeline(tiny_unet(), DDPMScheduler()).save_pretrained(tmp_path)
    weights = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    bias = state.pop("conv_out.bias")
    save_file(state, weights)
    assert DDPMPipeline.from_pretrained(tmp_path, low_cpu_mem_usage=False).unet is not None
    with pytest.raises(PriorError, match=r"missing keys in the weights: conv_out\.bias"):
        RePaintPipeline.from_pretrained(tmp_path)
    torch.save(state | {"conv_out.bias": bias}, weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(PriorError, match="allow_pickle"):
        RePaintPipeline.from_pretrained(tmp_path)
    assert RePaintPipeline.from_pretrained(tmp_path, use_safetensors=False).unet is not None


def test_what_is_neither_a_folder_nor_fetched_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PriorError, match=r"^from_pretrained: 'owner/model' is not a folder, and could not be fetched from the"):
        RePaintPipeline.from_pretrained("owner/model")


@pytest.mark.parametrize("kind", [DDPMPipeline, DDIMPipeline])
def test_one_network_serves_several_pipelines(kind: type[DiffusionPipeline]) -> None:
    other = kind(tiny_unet().to(torch.bfloat16), DDPMScheduler())
    ours = RePaintPipeline.from_pipe(other)
    assert ours.unet is other.unet
    assert ours.scheduler.config == other.scheduler.config
    assert other.unet.dtype == torch.bfloat16, "sharing leaves the precision alone"
    third = RePaintPipeline(**ours.components)
    assert third.unet is other.unet


def test_a_scheduler_put_in_later_counts() -> None:
    network = tiny_unet()
    scheduler = DDPMScheduler()
    prior = prior_of(network, scheduler)
    pipeline = RePaintPipeline.from_prior(prior)
    assert pipeline.prior is prior
    assert pipeline.unet is network
    pipeline.scheduler = DDPMScheduler(num_train_timesteps=10)
    assert len(pipeline.prior.schedule) == 10


def test_classifiers_guide() -> None:
    call = dict(image=pictures(), mask_image=mask_images(), keys=[1], output_type="np", **SHORT)
    plain = pipeline_of()(**call).images
    guided = pipeline_of()(classifier=tiny_classifier(), class_labels=2, classifier_scale=50.0, **call).images
    assert not np.allclose(plain, guided, atol=1e-3)
    own = pipeline_of(classifier=tiny_classifier(), classifier_scale=50.0)(class_labels=[2], **call).images
    assert np.array_equal(own, guided)
    with pytest.raises(PriorError, match="takes no class label"):
        pipeline_of()(class_labels=2, **call)


@settings(max_examples=8, deadline=None)
@given(data=st.data(), count=st.integers(1, 5), batch_windows=st.integers(1, 3))
def test_a_windows_result_does_not_depend_on_what_else_is_restored(data: st.DataObject, count: int, batch_windows: int) -> None:
    known = torch.rand(count, 3, TINY_PX, TINY_PX, generator=generator(count)) * 2 - 1
    keep = torch.from_numpy(keep_masks(count))[:, None]
    labels = [number % 4 for number in range(count)]
    pipeline = pipeline_of(tiny_unet(num_class_embeds=4))

    def restore(rows: list[int]) -> Tensor:
        return pipeline.restore(
            known[rows],
            keep[rows],
            [100 + row for row in rows],
            sampler=RePaint(3, 1, 2),
            batch_windows=batch_windows,
            class_labels=[labels[row] for row in rows],
        )

    everything = restore(list(range(count)))
    some = data.draw(st.permutations(range(count)))[: data.draw(st.integers(1, count))]
    assert torch.equal(restore(some), everything[some])
    assert torch.equal(torch.where(keep, everything, 0.0), torch.where(keep, known, 0.0))


def test_restore_takes_any_number_of_windows() -> None:
    known, keep = torch.zeros(5, 3, TINY_PX, TINY_PX), torch.from_numpy(keep_masks(5))[:, None]
    settings: dict[str, Any] = {"sampler": RePaint(2, 1, 1), "batch_windows": 2}
    result = pipeline_of().restore(known, keep, [1, 2, 3, 4, 5], **settings)
    assert result.shape == known.shape
    assert not result.is_inference()
    assert pipeline_of().restore(known[:0], keep[:0], [], **settings).shape == (0, 3, TINY_PX, TINY_PX)


def test_windows_that_do_not_fit_are_refused() -> None:
    known, keep = torch.zeros(2, 3, TINY_PX, TINY_PX), torch.from_numpy(keep_masks(2))[:, None]
    settings: dict[str, Any] = {"sampler": RePaint(2, 1, 1), "batch_windows": 2}
    for masks, keys in ((keep[:1], [1, 2]), (keep[:, 0], [1, 2]), (keep, [1])):
        with pytest.raises(MaskInvalid, match="do not fit"):
            pipeline_of().restore(known, masks, keys, **settings)
    with pytest.raises(PriorError, match="1 class labels for 2 pictures"):
        pipeline_of(tiny_unet(num_class_embeds=4)).restore(known, keep, [1, 2], class_labels=[0], **settings)
    with pytest.raises(PriorError, match="class label 4 is outside"):
        pipeline_of(tiny_unet(num_class_embeds=4)).restore(known, keep, [1, 2], class_labels=[0, 4], **settings)


BAD_INPUT: dict[str, tuple[Any, Any, type[Exception], str]] = {
    "mask of another size": (pixels(), keep_masks(1, 8, 6), MaskInvalid, "the mask is 6×8 px and its picture 8×8"),
    "all-known mask": (pixels(), np.ones((8, 8)), MaskInvalid, "mask 0 marks no hole: it is light everywhere"),
    "all-hole mask": (
        pixels(2),
        np.stack([keep_masks()[0], np.zeros((8, 8), bool)]),
        MaskInvalid,
        "mask 1 leaves no known pixel",
    ),
    "three masks for two pictures": (pixels(2), keep_masks(3), MaskInvalid, "3 masks for 2 pictures"),
    "mask of many channels": (pixels(), np.zeros((1, 8, 8, 3)), MaskInvalid, "is neither one mask nor a batch"),
    "mask of another type": (pixels(), "mask.png", MaskInvalid, "not str"),
    "size that does not halve": (pixels(1, 8, 7), keep_masks(1, 8, 7), PriorError, "7×8 px do not fit the network"),
    "pictures of two sizes": ([pixels()[0], pixels(1, 6, 6)[0]], keep_masks(), ImageInvalid, "pictures of one size"),
    "wrong number of channels": (np.zeros((8, 8, 2)), keep_masks(), ImageInvalid, "2 channels, the network takes 3"),
    "values out of range": (pixels().astype(np.float32), keep_masks(), ImageInvalid, "out of range"),
    "no number": (np.full((8, 8, 3), np.nan), keep_masks(), ImageInvalid, "out of range"),
    "no picture": ([], keep_masks(), ImageInvalid, "empty list"),
    "picture of another type": ("picture.png", keep_masks(), ImageInvalid, "not str"),
    "five dimensions": (np.zeros((1, 1, 8, 8, 3)), keep_masks(), ImageInvalid, "neither one picture nor a batch"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_named(case: str) -> None:
    image, mask, error, message = BAD_INPUT[case]
    with pytest.raises(error, match=message):
        pipeline_of()(image, mask, **SHORT)


@pytest.mark.parametrize("label", [-1, 4])
def test_a_class_label_outside_the_range_is_named(label: int) -> None:
    with pytest.raises(PriorError, match=rf"class label {label} is outside 0 \.\. 3"):
        pipeline_of(tiny_unet(num_class_embeds=4))(pictures(), mask_images(), class_labels=label, **SHORT)
    with pytest.raises(PriorError, match="say which of its 4 classes"):
        pipeline_of(tiny_unet(num_class_embeds=4))(pictures(), mask_images(), **SHORT)
