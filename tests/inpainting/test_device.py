"""How a network is run: what may change with it, by how much, and what may not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch._inductor.config
from diffusers import DDPMScheduler
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from repaint_batch.config import ComputeConfig, PriorConfig
from repaint_batch.errors import ConfigError, PriorError
from repaint_batch.evaluate.samplers import Langevin, Projected
from repaint_batch.inpainting import RePaintPipeline, device
from repaint_batch.jobs.plan import make_plan
from repaint_batch.manifest import open_manifest
from repaint_batch.pipeline.run import plan_job
from repaint_batch.priors.load import Precision, load_prior
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.sampler.langevin import AnnealedLangevin
from repaint_batch.sampler.repaint import RePaint
from repaint_batch.sampler.sampler import Sampler
from repaint_batch.sampler.slots import Chain, Slots
from repaint_batch.storage import Storage

from ..conftest import Place
from ..corpus import SIZE_PX, job, rows, save_tiny_prior, write_manifest
from ..tiny_networks import TINY_PX, Narrow, generator, prior_of, tiny_classifier, tiny_unet

SAMPLERS: tuple[Sampler, ...] = (
    RePaint(6, 2, 2),
    AnnealedLangevin(4),
    Langevin(num_levels=2, corrections=1),
    Projected(num_steps=4, jump_length=2, jump_n_sample=2),
)
BATCH = 4


def windows(count: int, side: int = TINY_PX) -> tuple[Tensor, Tensor, list[int]]:
    """Return pictures, masks with another known part each, and keys."""
    keep = torch.rand(count, 1, side, side, generator=generator(2)) > 0.5
    return torch.rand(count, 3, side, side, generator=generator(1)) * 2 - 1, keep, list(range(100, 100 + count))


def restore(prior: LoadedPrior, count: int = BATCH, sampler: Sampler = SAMPLERS[0], side: int = TINY_PX) -> Tensor:
    pipeline = RePaintPipeline.from_prior(prior)
    return pipeline.restore(*windows(count, side), sampler=sampler, batch_windows=BATCH)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_prior(tmp_path_factory.mktemp("prior"))


@pytest.fixture(scope="module")
def loaded(folder: str) -> Callable[[Precision], LoadedPrior]:
    return lambda precision: load_prior(PriorConfig(source=folder), Storage(), precision=precision)


@pytest.fixture(scope="module")
def compiled(loaded: Callable[[Precision], LoadedPrior]) -> LoadedPrior:
    """A compiled prior of 16 px; compiled once, since that is what takes the time."""
    if reason := device.missing_compiler():
        pytest.skip(reason)
    return device.compiled(loaded("float32"))


def test_a_loaded_network_computes_what_it_computed_as_it_was_saved(loaded: Callable[[Precision], LoadedPrior]) -> None:
    prior, plain = loaded("float32"), loaded("float32")
    plain.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    assert any(p.is_contiguous(memory_format=torch.channels_last) and not p.is_contiguous() for p in prior.network.parameters())
    x, t = torch.randn(BATCH, 3, SIZE_PX, SIZE_PX, generator=generator()), torch.full((BATCH,), 300)
    with torch.inference_mode():
        torch.testing.assert_close(prior(x, t).eps, plain.network(x, t).sample, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(restore(prior, side=SIZE_PX), restore(plain, side=SIZE_PX), rtol=0, atol=1e-3)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler.describe()["sampler"])
def test_bfloat16_stays_close_to_float32(sampler: Sampler, loaded: Callable[[Precision], LoadedPrior]) -> None:
    exact = restore(loaded("float32"), sampler=sampler, side=SIZE_PX)
    coarse = restore(loaded("bfloat16"), sampler=sampler, side=SIZE_PX)
    assert coarse.dtype == torch.float32
    error = (coarse - exact).abs()
    assert 0 < error.mean() < 0.02, "bfloat16 has 8 bits: 1/256 of a range of 2, over a few steps"


def test_what_comes_out_of_a_network_is_float32_and_contiguous(loaded: Callable[[Precision], LoadedPrior]) -> None:
    x = torch.randn(2, 3, SIZE_PX, SIZE_PX, generator=generator())
    strided = x.to(memory_format=torch.channels_last)
    prior, t = loaded("bfloat16"), torch.zeros(2, dtype=torch.int64)
    with torch.inference_mode():
        eps, again = prior(x, t).eps, prior(strided, t).eps
    assert eps.dtype == torch.float32
    assert eps.is_contiguous()
    assert torch.equal(eps, again), "results must not depend on the strides of the state, such as those of a resumed one"


def test_compiled_results_do_not_depend_on_batch_mates_or_place(compiled: LoadedPrior) -> None:
    sampler = AnnealedLangevin(3)
    pipeline = RePaintPipeline.from_prior(compiled)
    known, keep, keys = windows(6, SIZE_PX)

    def run(order: list[int]) -> Tensor:
        return pipeline.restore(known[order], keep[order], [keys[i] for i in order], sampler=sampler, batch_windows=BATCH)

    together = run([0, 1, 2, 3, 4, 5])
    assert torch.equal(run([5, 4, 3, 2, 1, 0]).flip(0), together)
    for alone in (0, 5):
        assert torch.equal(run([alone])[0], together[alone])


def test_sampling_never_compiles_again(compiled: LoadedPrior) -> None:
    """One batch of each kind of table, with variances and without, compiles what every other one runs."""
    for sampler in SAMPLERS[:2]:
        restore(compiled, count=1, sampler=sampler, side=SIZE_PX)
    pipeline = RePaintPipeline.from_prior(compiled)
    known, keep, keys = windows(BATCH + 1, SIZE_PX)
    with torch.compiler.set_stance("fail_on_recompile"):
        for sampler in SAMPLERS:
            for coarse in (None, known):
                pipeline.restore(known, keep, keys, sampler=sampler, batch_windows=BATCH, coarse=coarse)


def test_compiled_is_close_to_eager(compiled: LoadedPrior, loaded: Callable[[Precision], LoadedPrior]) -> None:
    eager = restore(loaded("float32"), side=SIZE_PX)
    torch.testing.assert_close(restore(compiled, side=SIZE_PX), eager, rtol=0, atol=1e-3)


class Watch(TorchDispatchMode):
    """Collects what makes the host wait for the device, or copies between them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket._qualified_op_name
        self.calls += 1
        if name in ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal", "aten::item"):
            self.seen.add(name)
        result = func(*args, **kwargs)
        places = {one.device.type for one in tree_leaves((args, kwargs, result)) if isinstance(one, Tensor) and one.ndim}
        if len(places) > 1:
            self.seen.add(f"{name} between {sorted(places)}")
        return result


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("guided", [False, True], ids=["unguided", "guided"])
@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler.describe()["sampler"])
def test_no_step_waits_for_the_device(sampler: Sampler, guided: bool, prediction: str) -> None:
    """On torch's meta device nothing has a value, so whatever reads one on the host fails."""
    classifier = tiny_classifier().to("meta") if guided else None
    prior = prior_of(tiny_unet().to("meta"), classifier=classifier, scheduler=DDPMScheduler(prediction_type=prediction))
    prior = prior.labelled([1] * BATCH if guided else None, BATCH)
    known, keep, keys = windows(BATCH)
    table = sampler.table(prior.schedule)
    slots = Slots(prior, table, known.shape, device="meta", labels=prior.labels, guidance=prior.guidance)
    # Two of them are held to drafts, and would enter late if they were new.
    drafts, states = [known[0], None, known[2], None], [known[0], None, known[2], None]
    slots.put([Chain(*one, label=1, x_t=x) for *one, x in zip(keys, known, keep, drafts, states, strict=True)])
    slots.step()  # what is copied before the loop may be
    watch = Watch()
    with watch:
        for _ in range(len(table) - 2):  # what has ended is copied to the host
            assert slots.step() == []
    assert slots.calls > 2
    assert slots.x_t.device.type == "meta"
    assert watch.calls > 100
    assert not watch.seen


@pytest.mark.parametrize(("most", "fits"), [(3, 2), (1, 1), (2, 2)])
def test_a_batch_that_does_not_fit_is_an_error_that_names_one_that_does(most: int, fits: int) -> None:
    with pytest.raises(ConfigError, match=rf"4 windows of 8×8 px .* {fits} do: set compute.batch_windows to {fits};"):
        restore(prior_of(Narrow(tiny_unet(), most)))


@pytest.mark.parametrize(("holds", "most", "found"), [(1, 64, 1), (3, 64, 2), (8, 64, 8), (64, 4, 4), (64, 5, 8), (0, 64, 1)])
def test_the_largest_batch_is_found_by_trying(holds: int, most: int, found: int) -> None:
    assert device.largest_batch(prior_of(Narrow(tiny_unet(), holds)), most) == found


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (torch.OutOfMemoryError("a test's own limit"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
    ],
)
def test_memory_that_runs_out_is_known_by_many_names(error: RuntimeError, found: bool) -> None:
    assert device.ran_out(error) is found


@pytest.mark.parametrize(
    ("compute", "found"),
    [({}, "float32"), ({"num_gpus": 0}, "float32"), ({"num_gpus": 0.5}, "bfloat16"), ({"precision": "float16"}, "float16")],
)
def test_a_precision_that_is_not_said_is_that_of_the_actors_devices(compute: dict[str, Any], found: str) -> None:
    if torch.cuda.is_available() and not compute:
        pytest.skip("this machine has a GPU")
    assert device.precision_of(ComputeConfig(**compute)) == found


def test_a_plan_keeps_the_precision_that_was_decided(local_place: Place, folder: str) -> None:
    manifest = write_manifest(local_place, rows(2))
    plans = [plan_job(job(local_place, manifest, folder, compute=c), local_place.storage)[0] for c in ({}, {"num_gpus": 1})]
    assert [plan.config["compute"]["precision"] for plan in plans] == ["float32", "bfloat16"]
    assert plans[0].job_id != plans[1].job_id


def test_a_batch_that_fits_runs() -> None:
    assert torch.equal(restore(prior_of(Narrow(tiny_unet(), BATCH))), restore(prior_of(tiny_unet())))


def test_a_window_that_does_not_fit_alone_is_an_error() -> None:
    with pytest.raises(PriorError, match="nor does a single one"):
        restore(prior_of(Narrow(tiny_unet(), 0)))


def test_what_changes_rounding_is_part_of_the_job(local_place: Place) -> None:
    manifest = write_manifest(local_place, rows(2))

    def planned(**compute: Any) -> tuple[str, str]:
        config = job(local_place, manifest, "any", compute=compute)
        plan = make_plan(config, open_manifest(manifest, local_place.storage), "prior", {"sampler": "any"})
        return plan.job_id, plan.sampler_fingerprint

    batches: list[dict[str, Any]] = [{"batch_windows": 8}, {"batch_windows": "auto"}]
    choices: list[dict[str, Any]] = [{}, {"compile": True}, {"precision": "bfloat16"}, *batches]
    for found in zip(*(planned(**choice) for choice in choices), strict=True):
        assert len(set(found)) == len(choices)
    assert planned() == planned(actors=3)


def test_whether_there_is_a_compiler_is_asked_where_the_network_runs(
    local_place: Place, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = job(local_place, write_manifest(local_place, rows(2)), folder, compute={"compile": True})
    monkeypatch.setenv("CXX", "no-such-compiler")
    plan = plan_job(config, local_place.storage)[0]
    with pytest.raises(ConfigError, match=r"no C\+\+ compiler \(no-such-compiler, .* install one on every node"):
        device.compiled(prior_of(tiny_unet()))
    assert plan.config["compute"]["compile"] is True, "who plans a job need not be who runs it"
