"""Priors from everywhere their owners keep them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from safetensors.torch import load_file, save_file

import repaint_batch
from repaint_batch import RePaintPipeline
from repaint_batch.config import PriorConfig
from repaint_batch.errors import PriorError
from repaint_batch.priors import source
from repaint_batch.priors.load import load_prior
from repaint_batch.storage import Storage

from ..conftest import Place
from ..corpus import SIZE_PX, save_tiny_prior
from ..golden_vectors import copy_checkpoint

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A prior in diffusers' pipeline layout."""
    return Path(save_tiny_prior(tmp_path / "prior"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where fetched priors go."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "repaint-batch" / "priors"


def loaded(path: object, **settings: Any) -> Any:
    return load_prior(PriorConfig(source=str(path), **settings), Storage())


def output_of(prior: Any) -> torch.Tensor:
    x = torch.linspace(-1, 1, 3 * SIZE_PX**2).reshape(1, 3, SIZE_PX, SIZE_PX)
    with torch.inference_mode():
        return prior(x, torch.tensor([500])).eps  # type: ignore[no-any-return]


def flat(folder: Path, target: Path) -> Path:
    """Copy a prior to the older layout, in which the network lies next to its scheduler."""
    for part in ("unet", "scheduler"):
        shutil.copytree(folder / part, target, dirs_exist_ok=True)
    return target


@pytest.mark.parametrize(("name", "resolution_px"), [("photo", 64), ("emoji", 32)])
def test_bundled_priors(cache: Path, name: str, resolution_px: int) -> None:
    prior = loaded(f"bundled:{name}")
    assert (prior.resolution_px, prior.channels, prior.num_classes) == (resolution_px, 3, None)
    assert f"`bundled:{name}`" in prior.card
    assert "licence" in prior.card.lower()


def test_every_photograph_behind_the_prior_of_photographs_is_named_with_its_licence() -> None:
    folder = Path(repaint_batch.__file__).parent / "assets" / "photo64"
    trained, _, unseen = (folder / "SOURCES.md").read_text().partition("## Held out")
    config = yaml.safe_load((Path(repaint_batch.__file__).parents[1] / "configs" / "prior-photo.yaml").read_text())
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in trained.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 42
    assert all(row[3].startswith(("CC0-", "CC-BY-", "public domain")) for row in rows), "GPL's and others' are not trained on"
    assert len([line for line in unseen.splitlines() if line.startswith("| ")][2:]) == len(config["held_out"])
    assert sum(file.stat().st_size for file in folder.rglob("*.safetensors")) < 32e6


def test_what_is_not_on_the_shelf_is_refused(cache: Path) -> None:
    with pytest.raises(PriorError, match=r"'bundled:cats' is not among the bundled priors \(photo, emoji\)"):
        loaded("bundled:cats")


def test_a_folder_in_either_layout(folder: Path, tmp_path: Path) -> None:
    network = UNet2DModel.from_pretrained(folder / "unet", low_cpu_mem_usage=False)
    x = torch.linspace(-1, 1, 3 * SIZE_PX**2).reshape(1, 3, SIZE_PX, SIZE_PX)
    with torch.inference_mode():
        expected = network(x, 500).sample
    pipeline, bare = loaded(folder), loaded(flat(folder, tmp_path / "flat"))
    assert torch.equal(output_of(pipeline), output_of(bare))
    torch.testing.assert_close(output_of(pipeline), expected, rtol=0, atol=1e-5)
    assert pipeline.fingerprint == bare.fingerprint == loaded(f"file://{folder}").fingerprint
    assert not pipeline.network.training
    assert not any(parameter.requires_grad for parameter in pipeline.network.parameters())


def test_weights_saved_in_half_precision_become_float32(folder: Path, tmp_path: Path) -> None:
    network = UNet2DModel.from_pretrained(folder / "unet", low_cpu_mem_usage=False, torch_dtype=torch.float16)
    pipeline = DDPMPipeline(network, DDPMScheduler())
    pipeline.save_pretrained(tmp_path / "half")
    prior = loaded(tmp_path / "half")
    assert next(prior.network.parameters()).dtype == torch.float32
    half = load_prior(PriorConfig(source=str(tmp_path / "half")), Storage(), precision="bfloat16")
    assert next(half.network.parameters()).dtype == torch.bfloat16
    assert output_of(half).dtype == torch.float32
    assert half.fingerprint != prior.fingerprint


def upload(folder: Path, place: Place, prefix: str) -> str:
    uri = f"{place.uri}/{prefix}"
    for path in folder.rglob("*"):
        if path.is_file():
            place.storage.write(f"{uri}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return uri


def test_an_object_store_prefix_is_fetched_once_and_again_when_it_changes(
    folder: Path, cache: Path, s3_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = upload(folder, s3_place, "prior")
    prior = load_prior(PriorConfig(source=uri), s3_place.storage)
    assert prior.fingerprint == loaded(folder).fingerprint
    assert torch.equal(output_of(prior), output_of(loaded(folder)))

    reads: list[str] = []
    read = Storage.read
    monkeypatch.setattr(Storage, "read", lambda self, key, *rest: (reads.append(key), read(self, key, *rest))[1])
    load_prior(PriorConfig(source=uri + "/"), s3_place.storage)
    load_prior(PriorConfig(source=uri), s3_place.storage)
    assert len(reads) <= 3, "the cache served it at least once"
    assert not list(cache.glob("*-*")), "no half-fetched folder is left"

    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({key: value * 1.5 for key, value in load_file(weights).items()}, weights)
    upload(folder, s3_place, "prior")
    changed = load_prior(PriorConfig(source=uri), s3_place.storage)
    assert changed.fingerprint == loaded(folder).fingerprint != prior.fingerprint


def test_a_checkpoint_in_an_object_store_brings_its_card(tmp_path: Path, cache: Path, s3_place: Place) -> None:
    path = copy_checkpoint("unet_b", tmp_path)
    uri = upload(tmp_path, s3_place, "checkpoints")
    prior = load_prior(PriorConfig(source=f"{uri}/{path.name}", class_label=3), s3_place.storage)
    assert (prior.num_classes, prior.resolution_px, prior.network.config.num_heads) == (10, 32, 2)
    with pytest.raises(PriorError, match="nothing at"):
        load_prior(PriorConfig(source=f"{uri}/absent"), s3_place.storage)


def test_a_hub_id_needs_a_commit_and_is_then_read_from_the_hubs_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for revision in (None, "main", REVISION[:12], REVISION.upper()):
        with pytest.raises(PriorError, match=r"no folder or file .*owner/model; check the path.*needs a commit of 40 hex digits"):
            loaded("owner/model", revision=revision)
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    flat(folder, tmp_path / "hub" / "models--owner--model" / "snapshots" / REVISION)
    assert loaded("owner/model", revision=REVISION).fingerprint == loaded(folder).fingerprint
    with pytest.raises(PriorError, match=r"owner/other at .* cannot be fetched from the hub"):
        loaded("owner/other", revision=REVISION)


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(PriorError, match=r"no folder or file .*; check the path"):
        loaded(tmp_path / "absent")


def test_missing_and_unexpected_keys_are_named_and_never_made_up(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    missing = dict(state)
    del missing["conv_out.bias"]
    save_file(missing, weights)
    with pytest.raises(PriorError, match=r"1 missing keys in the weights: conv_out\.bias"):
        loaded(folder)
    save_file({**state, "ema.decay": torch.zeros(1)}, weights)
    with pytest.raises(PriorError, match=r"1 unexpected keys in the weights: ema\.decay"):
        loaded(folder)
    save_file({**state, "conv_out.bias": torch.zeros(7)}, weights)
    with pytest.raises(PriorError, match="do not fit the config"):
        loaded(folder)
    weights.write_bytes(b"broken")
    with pytest.raises(PriorError, match="do not fit the config"):
        loaded(folder)


def test_safetensors_alone_unless_the_owner_says_otherwise(folder: Path) -> None:
    expected = output_of(loaded(folder))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(PriorError, match=r"no diffusion_pytorch_model\.safetensors; it has a \.bin: set prior\.allow_pickle"):
        loaded(folder)
    # To the last bit: how a file lies in memory must not show.
    assert torch.equal(output_of(loaded(folder, allow_pickle=True)), expected)


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_models_of_other_kinds_are_refused_with_the_reason(folder: Path, tmp_path: Path) -> None:
    index = folder / "model_index.json"
    index.write_text(json.dumps({"_class_name": "LDMPipeline", "vqvae": ["diffusers", "VQModel"], "unet": ["diffusers", "x"]}))
    with pytest.raises(PriorError, match="a pipeline with vqvae"):
        loaded(folder)
    index.unlink()
    config = folder / "unet" / "config.json"
    change(config, _class_name="UNet2DConditionModel")
    with pytest.raises(PriorError, match="a UNet2DConditionModel cannot be used"):
        loaded(folder)
    change(config, _class_name="UNet2DModel", time_embedding_type="fourier")
    with pytest.raises(PriorError, match="no discrete times"):
        loaded(folder)
    change(config, time_embedding_type="positional")
    scheduler = folder / "scheduler" / "scheduler_config.json"
    change(scheduler, thresholding=True)
    with pytest.raises(PriorError, match="thresholding"):
        loaded(folder)
    change(scheduler, thresholding=False, _class_name="NoSuchScheduler")
    with pytest.raises(PriorError, match="NoSuchScheduler is not a scheduler of diffusers"):
        loaded(folder)
    scheduler.unlink()
    with pytest.raises(PriorError, match=r"no scheduler_config\.json"):
        loaded(folder)
    config.write_text("[]")
    with pytest.raises(PriorError, match="expected a JSON object"):
        loaded(folder)


def test_a_classifier_guides_and_is_no_prior(tmp_path: Path) -> None:
    unet, classifier = (str(copy_checkpoint(name, tmp_path)) for name in ("unet_b", "classifier_c"))
    prior = loaded(unet, classifier=classifier, classifier_scale=2.0, class_label=3)
    assert prior.labelled(None, 2).guidance is not None
    assert prior.fingerprint != loaded(unet, class_label=3).fingerprint
    half = load_prior(PriorConfig(source=unet, classifier=classifier, class_label=3), Storage(), precision="bfloat16")
    assert (half.network.dtype, half.classifier.dtype) == (torch.bfloat16, torch.float32)
    with pytest.raises(PriorError, match=r"is a classifier; name it as prior\.classifier"):
        loaded(classifier)
    with pytest.raises(PriorError, match=r"predicts noise; name it as prior\.source"):
        loaded(unet, classifier=unet)


def test_an_interrupted_fetch_leaves_nothing_behind(
    folder: Path, cache: Path, s3_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = upload(folder, s3_place, "prior")
    read = Storage.read

    def fails_on_weights(self: Storage, key: str, *rest: Any) -> bytes:
        if key.endswith(".safetensors"):
            raise ConnectionError("cut")
        return read(self, key, *rest)

    monkeypatch.setattr(Storage, "read", fails_on_weights)
    with pytest.raises(ConnectionError):
        load_prior(PriorConfig(source=uri), s3_place.storage)
    assert list(cache.iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parents[1]))
    found = source.locate(uri, None, s3_place.storage)
    assert found.parent == cache


def test_the_layout_and_names_of_the_oldest_networks(folder: Path, tmp_path: Path) -> None:
    """That of google/ddpm-ema-celebahq-256: everything in one folder, attention under its first names."""
    old = flat(folder, tmp_path / "old")
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = old / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    renamed = {}
    for name, tensor in state.items():
        for new, first in names.items():
            name = name.replace(f".{new}.", f".{first}.")
        renamed[name] = tensor
    assert renamed.keys() != state.keys()
    save_file(renamed, weights)
    index = {"_class_name": "DDPMPipeline", "scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"]}
    (old / "model_index.json").write_text(json.dumps(index))
    config = json.loads((old / "config.json").read_text())
    for key in ("add_attention", "class_embed_type", "num_class_embeds", "resnet_time_scale_shift", "downsample_type"):
        del config[key]
    (old / "config.json").write_text(json.dumps(config))

    assert torch.equal(output_of(loaded(old)), output_of(loaded(folder)))
    # Priors of jobs lie channels-last in memory and those of a pipeline as diffusers lays them, which rounds differently.
    own = output_of(RePaintPipeline.from_pretrained(old).prior)
    torch.testing.assert_close(own, output_of(loaded(folder)), rtol=0, atol=1e-5)
