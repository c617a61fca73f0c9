"""Finish an output: what was stopped or killed goes on, then the rows that failed are run once more.

    ray job submit --working-dir . -- python jobs/resume_failed.py --config configs/resume-local.yaml

The config names the output; the jobs in it, with their priors and settings, are read from its frozen plans. The exit code is
0 when all rows are ok or skipped, 3 when some failed again, 2 for a bad config and 1 for anything else.
"""

import argparse
import sys

from repaint_batch.cli import run
from repaint_batch.config import Model, load_config
from repaint_batch.errors import ConfigError


class ResumeConfig(Model):
    """What to finish."""

    output: str
    """Folder or ``s3://bucket/prefix``: the `output.uri` of the jobs that ran there."""
    endpoint_url: str | None = None
    """S3 endpoint other than AWS's own (or AWS_ENDPOINT_URL)."""


def finish(config: ResumeConfig) -> int:
    """Go on, then retry, and return the exit code."""
    where = [config.output, *(["--endpoint-url", config.endpoint_url] if config.endpoint_url else [])]
    code = run(["run", *where])
    if code not in (0, 3):
        return code
    return run(["retry-failed", *where])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file that names the output")
    try:
        sys.exit(finish(load_config(parser.parse_args().config, ResumeConfig)))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
