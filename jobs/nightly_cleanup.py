"""Keep a corpus restored: every night what is new, changed or stale runs, and what is deleted is taken out.

    ray job submit --working-dir . -- python jobs/nightly_cleanup.py --config configs/nightly-local.yaml

A night with nothing new takes seconds and starts no cluster. Two nights of one output never overlap, a deadline ends a night
with what it has, and the next goes on from there. What became of it is in OUTPUT/nights/ and goes to night.webhook.

The exit code is 0 when it is done or its deadline is reached, 3 when more rows failed than night.most_failed allows, 4 when
it was told to stop (`repaint-batch stop`, `ray job stop`), 2 for a config or corpus that cannot be honoured, 1 for anything else.
"""

import argparse
import sys

from repaint_batch.cli import run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file of corpus and output")
    arguments, others = parser.parse_known_args()
    sys.exit(run(["night", arguments.config, *others]))
