"""A finished job costs nothing to run again."""

import pytest
import ray
from torch.nn.modules.module import register_module_forward_pre_hook

from repaint_batch.pipeline import run
from repaint_batch.pipeline.run import run_job

from ..conftest import Place
from ..corpus import job, rows, write_manifest
from ..restored import restore_here
from .conftest import Recorder


def test_no_network_is_evaluated_and_no_cluster_is_asked(
    place: Place, tiny_prior: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = job(place, write_manifest(place, rows(6)), tiny_prior)
    evaluated: list[str] = []
    hook = register_module_forward_pre_hook(lambda module, _: evaluated.append(type(module).__name__))
    try:
        restore_here(config)
        assert evaluated.count("UNet2DModel") > 10
        evaluated.clear()
        # What cannot be started, or joined, has not been asked for.
        monkeypatch.setattr(run, "ray_session", None)
        monkeypatch.setattr(ray, "init", None)
        summary = run_job(config, recorder)
    finally:
        hook.remove()
    assert evaluated == []
    assert (summary.rows_run, summary.nfe, summary.counts) == (0, 0, {"ok": 6, "skipped": 0, "failed": 0})
    assert recorder.plans == []
