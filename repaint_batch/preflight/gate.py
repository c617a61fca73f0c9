"""What stands between a job and its first shard."""

from repaint_batch.config import JobConfig
from repaint_batch.errors import ManifestError
from repaint_batch.manifest import Manifest
from repaint_batch.preflight.cost import cost_of, probe
from repaint_batch.preflight.findings import Findings
from repaint_batch.preflight.looking import preflight
from repaint_batch.storage import Storage


def before_run(config: JobConfig, manifest: Manifest, storage: Storage, resolution_px: int) -> Findings:
    """Return what a look at a sample of rows finds; with compute.budget, time this machine and hold the job against it.

    Raises:
        ManifestError: every row that was looked at would fail.
        ConfigError: the job is over its budget, or nobody can tell.
    """
    findings = preflight(config, manifest, storage, resolution_px=resolution_px)
    refuse_hopeless(findings)
    if config.compute.budget is not None:
        known = config.compute.price_per_gpu_hour is not None
        cost_of(findings, config, probe(config, storage) if known else None, resolution_px).check_budget(config)
    return findings


def refuse_hopeless(findings: Findings) -> None:
    """Raise ManifestError if every row that was looked at would fail."""
    if findings.all_bad:
        raise ManifestError(
            f"all of the {findings.looked:,} rows that were looked at would fail: {'; '.join(findings.warnings())}"
        )
