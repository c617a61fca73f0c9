"""`repaint-batch prior` as a person meets it."""

import hashlib
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from repaint_batch.cli.prior import app
from repaint_batch.config import PriorConfig
from repaint_batch.errors import ConfigError, PriorError
from repaint_batch.priors.load import load_prior
from repaint_batch.priors.published import PUBLISHED
from repaint_batch.storage import Storage

from ..golden_vectors import GOLDEN, copy_checkpoint


def call(*arguments: object) -> str:
    """Return what a command prints, in words one space apart; its errors are raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_inspect_says_what_a_checkpoint_is(tmp_path: Path) -> None:
    said = call("inspect", copy_checkpoint("unet_b", tmp_path))
    digest = hashlib.sha256((GOLDEN / "unet_b.safetensors").read_bytes()).hexdigest()
    for fact in ("GuidedUNet, 1,192,806 parameters", "classes 10", "variance learned_range", "2 of them, new order", digest):
        assert fact in said
    assert "as UNet2DModel no: UNet2DModel has attention heads of one size" in said
    assert "as UNet2DModel exactly" in call("inspect", copy_checkpoint("unet_a", tmp_path))
    assert "classes 10" in call("inspect", copy_checkpoint("classifier_c", tmp_path))
    assert "UNet2DModel, 3,479,699 parameters" in call("inspect", "bundled:emoji")
    assert "UNet2DModel, 7,053,091 parameters" in call("inspect", "bundled:photo")


@pytest.mark.parametrize(("name", "kind"), [("unet_a", "UNet2DModel"), ("unet_b", "GuidedUNet")])
def test_convert_writes_a_folder_that_computes_the_same(name: str, kind: str, tmp_path: Path) -> None:
    checkpoint, target = copy_checkpoint(name, tmp_path), tmp_path / "converted"
    assert kind in call("convert", checkpoint, target)
    label = 3 if name == "unet_b" else None
    before, after = (load_prior(PriorConfig(source=str(path), class_label=label), Storage()) for path in (checkpoint, target))
    assert type(after.network).__name__ == kind
    assert after.process.describe() == before.process.describe()
    assert after.resolution_px == 32
    recorded = load_file(GOLDEN / "forward.safetensors")
    labels = recorded["y"].tolist() if label else None
    with torch.inference_mode():
        ours, theirs = (prior.labelled(labels, 3)(recorded["x"], recorded["t"]) for prior in (before, after))
    torch.testing.assert_close(theirs.eps, ours.eps, rtol=0, atol=1e-5)
    torch.testing.assert_close(theirs.variance_fraction, ours.variance_fraction, rtol=0, atol=1e-5)
    assert hashlib.sha256(checkpoint.read_bytes()).hexdigest() in (after.card or "")


def test_convert_takes_a_classifier_too(tmp_path: Path) -> None:
    checkpoint, unet = copy_checkpoint("classifier_c", tmp_path), copy_checkpoint("unet_b", tmp_path)
    call("convert", checkpoint, tmp_path / "converted")
    prior = load_prior(PriorConfig(source=str(unet), classifier=str(tmp_path / "converted"), class_label=1), Storage())
    recorded = load_file(GOLDEN / "forward.safetensors")
    assert prior.classifier is not None
    with torch.inference_mode():
        logits = prior.classifier(recorded["x"], recorded["t"])
    torch.testing.assert_close(logits, recorded["classifier_c"], rtol=0, atol=1e-4)


def test_what_cannot_be_done_is_refused(tmp_path: Path) -> None:
    checkpoint = copy_checkpoint("unet_a", tmp_path)
    with pytest.raises(ConfigError, match="is not empty"):
        call("convert", checkpoint, tmp_path)
    torch.save(load_file(checkpoint), tmp_path / "unet_a.pt")
    with pytest.raises(PriorError, match="a pickle"):
        call("convert", tmp_path / "unet_a.pt", tmp_path / "new")
    assert "UNet2DModel" in call("convert", tmp_path / "unet_a.pt", tmp_path / "new", "--allow-pickle")


def test_published_priors_are_pinned_and_told(tmp_path: Path) -> None:
    said = call("fetch")
    for name, one in PUBLISHED.items():
        assert re.fullmatch("[0-9a-f]{40}", one.revision), name
        assert f"{name} {one.domain} {one.size_px} px {one.megabytes} MB {one.licence}" in said
    with pytest.raises(PriorError, match=r"owner/model is not one of .*add --revision"):
        call("fetch", "owner/model", tmp_path / "new")
    with pytest.raises(PriorError, match="name the folder too, such as priors/ddpm-cat-256"):
        call("fetch", "google/ddpm-cat-256")
