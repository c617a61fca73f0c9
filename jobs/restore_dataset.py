"""Restore a data set on a Ray cluster.

    ray job submit --working-dir . -- python jobs/restore_dataset.py --config configs/restore-local.yaml

Submitted again, the same job goes on where it stopped, or says that there is nothing left to do. Options of `repaint-batch run`
are taken too, such as --set sampler.preset=draft or --rows 20. The exit code is that of `repaint-batch run`: 0 all rows are ok or
skipped, 3 rows failed, 2 a bad config or manifest, 4 stopped before the end, 1 anything else.
"""

import argparse
import sys

from repaint_batch.cli import run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file of the job")
    arguments, others = parser.parse_known_args()
    sys.exit(run(["run", arguments.config, *others]))
