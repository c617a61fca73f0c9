"""A job from config to finished table, in as many passes as it takes.

The table is the judge of what is done: a pass restores the rows that it does not hold, and whatever a pass did not bring
home is pending again. So a new run, a resumed one and a retry are the same thing.
"""

import contextlib
import logging
import os
import secrets
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import ray
import torch
from deltalake.exceptions import DeltaError
from ray import LoggingConfig

from repaint_batch.config import ComputeConfig, JobConfig
from repaint_batch.errors import ConfigError, StorageError
from repaint_batch.inpainting.device import precision_of
from repaint_batch.jobs.lease import Lease
from repaint_batch.jobs.plan import Plan, freeze, load_plans, make_plan
from repaint_batch.jobs.usage import read_usage
from repaint_batch.manifest import Manifest, open_manifest
from repaint_batch.outputs.status import exit_code
from repaint_batch.pipeline.dataset import ActorResources
from repaint_batch.pipeline.first_look import look_first
from repaint_batch.pipeline.job import Job
from repaint_batch.pipeline.passes import restore
from repaint_batch.pipeline.stopping import Stop, stoppable
from repaint_batch.priors.load import LoadedPrior, load_prior
from repaint_batch.sampler.presets import sampler_of
from repaint_batch.schema import passthrough
from repaint_batch.storage import Storage
from repaint_batch.table.ranges import Ranges
from repaint_batch.table.results import CommitFeed, ResultsTable
from repaint_batch.uris import normalise

_LOCAL_OBJECT_STORE_BYTES = 512 * 2**20
_POLL_S = 1.0
_MOST_WORDS = 300
_WORK_S = 5.0  # between two looks at what actors say of themselves
_MOST_ACTORS = 1000  # of a cluster that grows; its own limits come first
_LEAST_STAGE_CPUS = 0.25  # decoding and encoding mostly wait for the store
_HOPELESS_ROWS = 100  # after which a job is judged by the rows that failed


class Watcher(Protocol):
    """Whoever is told how far a job is."""

    def update(self, rows_done: int, shards_done: int, failed: int, work: str) -> None:
        """Take the totals committed so far, and in words what the actors are at."""


Planned = tuple[Plan, Manifest, LoadedPrior]
"""A job's plan, its manifest, and its prior."""
Watch = Callable[[Plan, int, int], contextlib.AbstractContextManager[Watcher]]
"""Makes a watcher of a plan of which some (rows, shards) are already done."""


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        plan: the job.
        rows_run: rows that this run committed.
        rows_left: rows of the job that are not committed yet.
        counts: rows of the whole table by status.
        nfe: network evaluations spent by this run.
        seconds: wall-clock time of this run, Ray's start included.
        notes: columns of the manifest that are kept in another type, one line each.
    """

    plan: Plan
    rows_run: int
    rows_left: int
    counts: dict[str, int]
    nfe: int
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0: all rows ok or skipped; 3: some failed, or none had a hole."""
        return exit_code(self.counts)


def plan_job(
    config: JobConfig,
    storage: Storage,
    *,
    retry_of: str | None = None,
    listed: int | None = None,
    manifest: Manifest | None = None,
) -> Planned:
    """Return what `config` would do, after reading its manifest, unless that was done, and its prior; nothing is written."""
    config, sampler = honoured(config)
    manifest = manifest or open_manifest(config.input.manifest, storage)
    # In the job's precision: an actor holds its own fingerprint against this one's.
    prior = load_prior(config.prior, storage, precision=precision_of(config.compute))
    return make_plan(config, manifest, prior.fingerprint, sampler, retry_of=retry_of, listed=listed), manifest, prior


def honoured(config: JobConfig) -> tuple[JobConfig, dict[str, Any]]:
    """Return a job's config as this machine can honour it, and what its sampler is.

    Raises:
        ConfigError: there is no such sampler.
    """
    compute = config.compute.model_copy(update={"precision": precision_of(config.compute)})
    config = config.model_copy(update={"compute": compute})
    sampler = sampler_of(config.sampler.preset, config.sampler.num_steps, config.sampler.own).describe()
    if config.sampler.candidates > 1:  # a setting that says nothing new is left out, so that the job keeps its id
        sampler["candidates"] = config.sampler.candidates
    return config, sampler


def run_job(
    config: JobConfig,
    watch: Watch,
    *,
    retry_of: str | None = None,
    listed: int | None = None,
    until: float | None = None,
    planned: Planned | None = None,
    rows: int | None = None,
    asked: Callable[[], bool] = lambda: False,
) -> Summary:
    """Run a job, or what is left of it, until the table holds every row of it.

    Args:
        config: the job.
        watch: makes whoever is told how far it is.
        retry_of: the job whose rows it runs again, or supersedes.
        listed: rows that the output holds once it is done, see `Plan`.
        until: when to stop, on the clock of `time.monotonic`.
        planned: what `plan_job` has made of it, by whoever has looked already.
        rows: run the first rows of the manifest alone, so many; the next run of the same job goes on with the others.
        asked: whether somebody has asked whoever runs the job to stop; those who run it alone are asked through its lease.

    Raises:
        Stopped: it was stopped, by SIGTERM, on request or at `until`; what is committed stays, and the next run goes on.
    """
    started = time.perf_counter()
    storage = Storage(config.storage)
    plan, manifest, prior = planned or plan_job(config, storage, retry_of=retry_of, listed=listed)
    del planned
    with contextlib.ExitStack() as session:
        resources: ActorResources | None = None
        if not load_plans(config.output.uri, storage):  # what goes on, or runs again, has been looked at
            resources = session.enter_context(ray_session(config.compute))
            look_first(config, manifest, prior, resources)
        plan = freeze(plan, config.output.uri, storage)
        table = ResultsTable(config.output.uri, storage)
        own_columns = tuple(passthrough(manifest.schema))
        table.create(own_columns)
        feed = CommitFeed(table, plan)
        before, wanted = feed.rows, Ranges.of((0, plan.rows if rows is None else min(rows, plan.rows)))
        if wanted - feed.done:
            job = Job(plan, normalise(config.output.uri), own_columns, prior.resolution_px)
            del prior
            lease = session.enter_context(Lease(job.output, plan.job_id, storage))
            resources = resources or session.enter_context(ray_session(config.compute))
            with stoppable(until) as stop:
                after = hopeless(config.compute, feed, stop), requested(lambda: lease.is_asked_to_stop() or asked(), stop)
                with watched(watch, plan, feed, after, Work(job)):
                    restore(job, table, resources, lease.check, stop, lease.epoch, wanted)
    spent = feed.nfe, time.perf_counter() - started
    return Summary(plan, feed.rows - before, plan.rows - feed.rows, table.counts(), *spent, manifest.notes)


@contextlib.contextmanager
def ray_session(compute: ComputeConfig) -> Iterator[ActorResources]:
    """Join the configured Ray cluster, or start a local one for the time of the job; yield what actors may take."""
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what matters is told by `passes`
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="repaint_batch.pipeline.dataset")
    own = not ray.is_initialized()
    address = compute.address or os.environ.get("RAY_ADDRESS")
    if own:
        # "local": without it Ray would join whatever cluster it finds on this machine.
        local = {} if address else {"object_store_memory": _LOCAL_OBJECT_STORE_BYTES, "include_dashboard": False}
        lines = {"logging_config": LoggingConfig(encoding="JSON")} if compute.log == "json" else {}
        # What the core of this process would say at every start, of actors' arguments, alarms and means nothing.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        if local:
            _use_own_token()
        try:
            with _quiet_core() if local else contextlib.nullcontext():
                ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", **lines, **local)
        except Exception as error:  # Ray raises bare ones too
            words = " ".join(str(error).split())[:_MOST_WORDS]
            if address:
                raise ConfigError(f"compute.address: cannot join Ray at {address}: {words}; check it and RAY_ADDRESS") from error
            raise ConfigError(f"Ray did not start on this machine, which may be too busy; try again: {words}") from error
    try:
        yield actor_resources(compute, ray.cluster_resources(), may_grow=bool(address) or not own)
    finally:
        if own:
            ray.shutdown()


def _use_own_token() -> None:
    """Give a local cluster a token of its own.

    Ray would leave one in the home folder, for which `ray start --head` would then ask everybody who submits a job.
    """
    home = os.path.join(os.path.expanduser("~"), ".ray", "auth_token")
    if not any(name.startswith("RAY_AUTH_") for name in os.environ) and not os.path.exists(home):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # the mode is Ray's own default


@contextlib.contextmanager
def _quiet_core() -> Iterator[None]:
    """Start Ray without what its C++ core says of itself on standard error; what goes wrong is raised in Python.

    What Python says there meanwhile, such as for how long Ray has been starting, is said.
    """
    sys.stderr.flush()
    with open(os.dup(2), "w", encoding=sys.stderr.encoding, errors="replace") as kept, contextlib.redirect_stderr(kept):
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            kept.flush()
            os.dup2(kept.fileno(), 2)


def resources_here(compute: ComputeConfig) -> ActorResources | None:
    """Return what actors take where a job runs on this machine alone; None where it joins a cluster.

    Raises:
        ConfigError: there is no room for an actor.
    """
    if compute.address or os.environ.get("RAY_ADDRESS"):
        return None
    here = {"CPU": float(os.cpu_count() or 1), "GPU": float(torch.cuda.device_count())}
    return actor_resources(compute, here, may_grow=False)


def actor_resources(compute: ComputeConfig, cluster: dict[str, float], *, may_grow: bool) -> ActorResources:
    """Return what actors take on a cluster with these resources.

    With GPUs there is one actor for each, of nodes that join later too. On CPUs an actor runs one thread on three quarters of a
    logical core by default, one for every two cores: several actors beat several threads, and the rest is what decoding and
    committing run on.

    Args:
        compute: what was asked for.
        cluster: what the nodes have that are there now, together.
        may_grow: whether nodes may join later; then an actor for which there is no room yet waits for one.

    Raises:
        ConfigError: least is more than most, or there never will be room for an actor.
    """
    gpus = compute.num_gpus if compute.num_gpus is not None else (1.0 if cluster.get("GPU") else 0.0)
    cpus = compute.num_cpus if compute.num_cpus is not None else (1.0 if gpus else 0.75)
    have = cluster.get("GPU", 0.0) / gpus if gpus else cluster.get("CPU", 0.0) / cpus
    # Beside an actor on a CPU another half of it decodes, encodes and is the driver.
    fitting = int(have) if gpus else int(cluster.get("CPU", 0.0) // 2)
    least, most = _actors(compute, fitting, may_grow=may_grow and gpus > 0)
    if have < 1:
        kind, want, there = ("GPU", gpus, cluster.get("GPU", 0)) if gpus else ("CPU", cpus, cluster.get("CPU", 0))
        lacking = f"compute: an actor takes {want:g} {kind}, the cluster has {there:g}"
        if not may_grow:
            raise ConfigError(f"{lacking}; lower compute.num_{kind.lower()}s")
        warnings.warn(f"{lacking}; waiting for a node that has it", stacklevel=2)
    if may_grow and not gpus and compute.num_gpus is None:
        lacking = "the cluster has no GPU now, so the job runs on CPUs"
        warnings.warn(f"{lacking}; if GPU nodes join, set compute.num_gpus: 1", stacklevel=2)
    most = most if may_grow else max(least, min(most, int(have)))
    left = cluster.get("CPU", 0.0) - least * cpus
    stage_cpus = max(_LEAST_STAGE_CPUS, min(1.0, left / 4)) if gpus else _LEAST_STAGE_CPUS
    return ActorResources(least, most, cpus, gpus, threads=max(1, round(cpus)), stage_cpus=stage_cpus)


def _actors(compute: ComputeConfig, fitting: int, *, may_grow: bool) -> tuple[int, int]:
    """Return the least and the most actors."""
    if compute.actors is None:
        here = max(1, fitting)
        return (here, _MOST_ACTORS) if may_grow else (here, here)
    least, most = compute.actors if isinstance(compute.actors, tuple) else (compute.actors, compute.actors)
    if least > most:
        raise ConfigError(f"compute.actors: least {least} is more than most {most}; write [least, most]")
    return least, most


def hopeless(compute: ComputeConfig, feed: CommitFeed, stop: Stop) -> Callable[[], None]:
    """Return what ends a job in which nearly every row fails, asked after every look at the table."""
    before = feed.rows

    def look() -> None:
        done = feed.rows - before
        if done >= _HOPELESS_ROWS and feed.failed > compute.max_failed * done:
            stop.end(f"{feed.failed} of the first {done} rows failed, more than compute.max_failed = {compute.max_failed:g}")

    return look


def requested(asked: Callable[[], bool], stop: Stop) -> Callable[[], None]:
    """Return what ends a job that `repaint-batch stop` asks to stop, asked after every look at the table."""

    def look() -> None:
        if not stop.asked and asked():
            stop.end("stopped by `repaint-batch stop`")

    return look


class Work:
    """What the actors of a job are at, between two commits, by what they say of themselves.

    Args:
        job: the job.
    """

    def __init__(self, job: Job) -> None:
        self._job, self._words, self._asked = job, "", -_WORK_S
        self._before: int | None = None

    def words(self) -> str:
        """Return it, asking the store now and then."""
        if time.monotonic() - self._asked >= _WORK_S:
            usages = read_usage(self._job.output, self._job.plan.job_id, self._job.storage.impatient)
            used = sum(usage.used for usage in usages)
            self._before = used if self._before is None else self._before
            waiting = sum(usage.waiting for usage in usages)
            self._words = f"{used - self._before:,} evaluations, {waiting:,} windows waiting" if used > self._before else ""
            self._asked = time.monotonic()
        return self._words


@contextlib.contextmanager
def watched(
    watch: Watch, plan: Plan, feed: CommitFeed, after: Sequence[Callable[[], None]], work: Work
) -> Iterator[None]:
    """Tell a watcher of every commit while the block runs, by looking at the table as anybody could."""
    finished = threading.Event()
    with watch(plan, feed.rows, len(feed.shards)) as watcher:

        def look() -> None:
            # Who watches does not end a job, whatever the store answers.
            with contextlib.suppress(DeltaError, OSError, ValueError, StorageError):
                feed.poll()
                watcher.update(feed.rows, len(feed.shards), feed.failed, work.words())
                for ask in after:
                    ask()

        def poll() -> None:
            while not finished.wait(_POLL_S):
                look()

        thread = threading.Thread(target=poll, daemon=True, name="progress")
        thread.start()
        try:
            yield
        finally:
            finished.set()
            thread.join()
            look()
