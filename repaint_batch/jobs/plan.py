"""A job's plan: pure data, frozen in the output before anything runs.

Shard k covers rows k·shard_rows .. (k+1)·shard_rows of the manifest, so that a plan does not grow with its rows, but with the
files of the manifest alone. The job's id is a hash of all that decides the results: the manifest's contents, the prior, the
sampler, the image settings, the seed. Running the same job again finds the same plan; how many actors run it is no part of it.
"""

import contextlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal

from repaint_batch.config import RETIRED, JobConfig, StorageConfig, fingerprint, without_retired
from repaint_batch.errors import ConfigError, NothingToResume, SourceMissing
from repaint_batch.manifest import Manifest, ManifestFile
from repaint_batch.storage import Storage
from repaint_batch.uris import delta_uri, join, normalise

FORMAT = 2  # 1: what was committed was told by shard
_READERS = 16
_PLAN, _WITHDRAWN = "plan.json", "plan.withdrawn.json"


@dataclass(frozen=True)
class Plan:
    """What one job does.

    Attributes:
        job_id: 16 hex digits, see above.
        created_at: ISO 8601, UTC, to the microsecond: jobs of an output are in this order.
        files: the manifest's files, in order.
        base: prefix that relative URIs in the manifest start from.
        rows: rows of the manifest.
        shard_rows: rows of every shard but the last.
        mode: ``append`` for the first job of an output; ``upsert`` for one that supersedes rows of earlier ones.
        prior_fingerprint: see `repaint_batch.priors`.
        sampler: name and settings of the sampler.
        retry_of: the job whose rows this one runs again, or supersedes.
        config: the whole JobConfig, as it was.
        listed: of a night's job, or of rows that a manifest has grown by: rows that the output holds once it is done.
    """

    job_id: str
    created_at: str
    files: tuple[ManifestFile, ...]
    base: str
    rows: int
    shard_rows: int
    mode: Literal["append", "upsert"]
    prior_fingerprint: str
    sampler: dict[str, Any]
    retry_of: str | None
    config: dict[str, Any]
    listed: int | None = None

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.rows // self.shard_rows)

    @property
    def sampler_fingerprint(self) -> str:
        """Hash of the sampler's settings and of what else decides its arithmetic."""
        return sampler_fingerprint(self.sampler, self.config["compute"])

    def shard_range(self, shard: int) -> tuple[int, int]:
        """Return (first row, row after the last) of a shard."""
        return shard * self.shard_rows, min((shard + 1) * self.shard_rows, self.rows)

    @cached_property
    def job_config(self) -> JobConfig:
        """The config the plan was made from, validated once."""
        return JobConfig.model_validate(without_retired(self.config, f"plan of job {self.job_id}"))


def sampler_fingerprint(sampler: dict[str, Any], compute: Mapping[str, Any]) -> str:
    """Return the hash of a sampler's settings and of what else, of a config's compute section, decides its arithmetic."""
    return fingerprint(sampler, compute["batch_windows"], compute["precision"], compute["compile"])


def make_plan(
    config: JobConfig,
    manifest: Manifest,
    prior_fingerprint: str,
    sampler: dict[str, Any],
    *,
    retry_of: str | None = None,
    listed: int | None = None,
) -> Plan:
    """Return the plan of a job; nothing is written.

    Raises:
        ConfigError: no table can be kept at output.uri.
    """
    delta_uri(normalise(config.output.uri))
    values = config.model_dump(mode="json")
    decides = {
        "manifest": manifest.fingerprint,
        "prior": [prior_fingerprint, values["prior"]["class_label"], values["prior"]["classifier_scale"]],
        "sampler": [sampler, config.sampler.seed],
        # Settings that say nothing new are left out, so that a version with more of them finds the same job.
        "images": config.images.model_dump(mode="json", exclude_defaults=True),
        "output": [values["output"]["images"], values["output"]["format"]],
        "arithmetic": [config.compute.batch_windows, config.compute.precision, config.compute.compile],
        "retry_of": retry_of,
    }
    return Plan(
        job_id=fingerprint(decides),
        created_at=datetime.now(UTC).isoformat(timespec="microseconds"),  # two jobs planned within a second have an order
        files=manifest.files,
        base=manifest.base,
        rows=manifest.rows,
        shard_rows=config.compute.shard_rows,
        mode="upsert" if retry_of else "append",
        prior_fingerprint=prior_fingerprint,
        sampler=sampler,
        retry_of=retry_of,
        config=values,
        listed=listed,
    )


def job_uri(output: str, job_id: str, *parts: str) -> str:
    """Return the URI of a job's folder in an output, or of something in it."""
    return join(output, "jobs", job_id, *parts)


def freeze(plan: Plan, output: str, storage: Storage) -> Plan:
    """Write the plan unless this job already has one; return the one that holds.

    Raises:
        ConfigError: the output belongs to another job, or lies in a store that cannot keep one.
    """
    output = normalise(output)
    plans = load_plans(output, storage)
    others = [other for other in plans if other.mode == "append" and other.job_id != plan.job_id]
    if plan.mode == "append" and others:
        first = others[0]
        raise ConfigError(f"{output} already holds job {first.job_id} ({_differences(plan, first)}); choose another output.uri")
    uri = job_uri(output, plan.job_id, _PLAN)
    if storage.create(uri, _stored(plan)):
        if storage.create(uri, _stored(plan)):
            storage.delete(uri)
            raise ConfigError(
                f"output.uri: the store of {output} ignores conditional writes (If-None-Match), by which commits keep from "
                "writing over each other: rows would be lost; use a store that honours them, or a local folder"
            )
        return plan
    frozen = load_plan(output, plan.job_id, storage)
    # How a job is run may change from run to run; what it does may not.
    compute = {**plan.config["compute"], "shard_rows": frozen.shard_rows}
    return replace(frozen, config={**frozen.config, "compute": compute, "storage": plan.config["storage"]})


def load_plan(output: str, job_id: str, storage: Storage) -> Plan:
    """Return a job's frozen plan; also that of one which was withdrawn, whose rows may still be there."""
    for name in (_PLAN, _WITHDRAWN):
        with contextlib.suppress(SourceMissing):
            return _read_plan(job_uri(output, job_id, name), storage)
    raise NothingToResume(f"{job_uri(output, job_id, _PLAN)}: no such plan; check the output")


def _read_plan(uri: str, storage: Storage) -> Plan:
    values = json.loads(storage.read(uri))
    written = values.pop("format", None)
    if written != FORMAT:
        raise ConfigError(
            f"{uri} has format {written}, this version goes on with format {FORMAT}; finish it with the version that "
            "wrote it, or choose another output.uri"
        )
    files = tuple(ManifestFile(**file) for file in values.pop("files"))
    return Plan(files=files, **values)


def load_plans(output: str, storage: Storage) -> list[Plan]:
    """Return every job of an output that stands, oldest first."""
    return _plans(output, _PLAN, storage)


def load_withdrawn(output: str, storage: Storage) -> list[Plan]:
    """Return every job of an output that was withdrawn and not planned again, oldest first."""
    stand = {plan.job_id for plan in load_plans(output, storage)}
    return [plan for plan in _plans(output, _WITHDRAWN, storage) if plan.job_id not in stand]


def newest_settings(output: str, storage: Storage) -> StorageConfig | None:
    """Return how the job that was planned last reaches its stores; None where there is none."""
    found = [(info["modified"], uri) for uri, info in storage.list(join(normalise(output), "jobs")) if uri.endswith(f"/{_PLAN}")]
    return _read_plan(max(found)[1], storage).job_config.storage if found else None


def withdraw(plan: Plan, output: str, storage: Storage) -> None:
    """Set a job's plan aside: what it did not do is no longer pending. Planned again, or reinstated, it stands as before."""
    storage.write(job_uri(normalise(output), plan.job_id, _WITHDRAWN), _stored(plan))
    storage.delete(job_uri(normalise(output), plan.job_id, _PLAN))


def reinstate(plan: Plan, output: str, storage: Storage) -> None:
    """Let a withdrawn job stand again."""
    storage.write(job_uri(normalise(output), plan.job_id, _PLAN), _stored(plan))
    storage.delete(job_uri(normalise(output), plan.job_id, _WITHDRAWN))


def _plans(output: str, name: str, storage: Storage) -> list[Plan]:
    found = [uri for uri, _ in storage.list(join(normalise(output), "jobs")) if uri.endswith(f"/{name}")]
    with ThreadPoolExecutor(_READERS) as pool:
        plans = list(pool.map(lambda uri: _read_plan(uri, storage), found))
    return sorted(plans, key=lambda plan: (plan.created_at, plan.job_id))


def _stored(plan: Plan) -> bytes:
    return json.dumps({"format": FORMAT, **asdict(plan)}, indent=1).encode()


def _said(plan: Plan, section: str) -> dict[str, Any]:
    """Return a section of a plan's config, without settings that are none any more and said what is always so now."""
    always = {key: retired.value for (of, key), retired in RETIRED.items() if of == section}
    return {key: value for key, value in plan.config[section].items() if key not in always or value != always[key]}


def _differences(plan: Plan, other: Plan) -> str:
    sections = ("input", "prior", "sampler", "images", "output")
    names = [section for section in sections if _said(plan, section) != _said(other, section)]
    arithmetic = ("batch_windows", "precision", "compile")
    names += [f"compute.{name}" for name in arithmetic if plan.config["compute"][name] != other.config["compute"].get(name)]
    # A prior's fingerprint changes with its precision too.
    if plan.prior_fingerprint != other.prior_fingerprint and not {"prior", "compute.precision"} & set(names):
        names.append("prior weights")
    if plan.files != other.files and "input" not in names:
        names.append("manifest contents")
    if plan.sampler != other.sampler and "sampler" not in names:
        names.append("sampler, as this version defines it")
    return f"differs in: {', '.join(names) or 'what the version that planned it made of the same config'}"
