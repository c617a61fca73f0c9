"""Jobs over hosts of their own while the network splits, hosts vanish, clocks are wrong and disks are full.

    python -m tests.chaos.hosts             every fault at every phase it has, over every store
    python -m tests.chaos.hosts --short     a few
    python -m tests.chaos.hosts --only zombie --store moto

Prints a Markdown table: what became of the rows of each job, held against the same job without faults. Exit code 1 if anything
but zeros stands there. Hosts are namespaces of this machine, see `network`; where these cannot be made it says why, and ends
with 77. Everything ends with the process that was started.
"""

import argparse
import contextlib
import os
import re
import secrets
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .network import Switch, attach, missing

SKIPPED = 77
_INSIDE = "REPAINT_BATCH_HOSTS"
_DISK = "/mnt"
HEAD = ("fault", "phase", "store", "rows", "lost", "twice", "failed", "wrong", "problems", "hangs", "runs", "s")


@dataclass(frozen=True)
class Scenario:
    """A fault in a phase, over a store."""

    fault: Any
    phase: str
    store: str = "seaweedfs"


def main() -> int:
    """Run what was asked for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a few")
    parser.add_argument("--only", default="", help="faults whose names this regular expression finds")
    parser.add_argument("--phase", default=".*", help="phases that match this one")
    parser.add_argument("--store", default="", help="stores that are called so")
    arguments = parser.parse_args()
    reason = missing()
    if reason:
        print(f"skipped: {reason}")
        return SKIPPED
    if _INSIDE not in os.environ:
        inside = [sys.executable, "-m", "tests.chaos.hosts", *sys.argv[1:]]
        flags = ["--net", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
        # In place of this process, so that whoever ends it ends everything.
        os.execvpe("unshare", ["unshare", *flags, *inside], {**os.environ, _INSIDE: "1"})
    return _inside(arguments)


def _inside(arguments: argparse.Namespace) -> int:
    from . import faults

    chosen = [
        scenario
        for scenario in (faults.SHORT if arguments.short else faults.LONG)
        if re.search(arguments.only, scenario.fault.name)
        and re.fullmatch(arguments.phase, scenario.phase)
        and arguments.store in ("", scenario.store)
    ]
    with tempfile.TemporaryDirectory(prefix="hosts-", dir="/var/tmp") as folder:  # /tmp is every host's own
        flawless = _run(chosen, Path(folder))
    return 0 if flawless else 1


def _run(chosen: list[Scenario], folder: Path) -> bool:
    from .lab import STORE, Lab, running
    from .stores import STORES

    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    # A host that vanished says nothing. By Ray's defaults its calls are waited for during seven minutes; all nodes must agree.
    os.environ |= {f"RAY_grpc_client_keepalive_{name}_ms": "20000" for name in ("time", "timeout")}
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", _DISK], check=True)
    switch = Switch()
    attach(switch, STORE, os.getpid())
    print(f"| {' | '.join(HEAD)} |\n|{' --- |' * len(HEAD)}", flush=True)
    is_flawless, labs = True, {}
    with contextlib.ExitStack() as stack:
        cluster = None
        for scenario in sorted(chosen, key=lambda one: list(STORES).index(one.store)):
            if scenario.store not in labs:
                (folder / scenario.store).mkdir()
                service = stack.enter_context(STORES[scenario.store](folder / scenario.store))
                os.environ.update(service.environment())
                cluster = cluster or stack.enter_context(running(switch, folder))
                labs[scenario.store] = stack.enter_context(Lab(cluster, service, folder / scenario.store))
            outcome = labs[scenario.store].run(scenario.fault, scenario.phase)
            is_flawless &= outcome.is_flawless
            figures = (outcome.rows, outcome.lost, outcome.twice, outcome.failed, outcome.wrong, outcome.problems,
                       outcome.hangs, outcome.runs, outcome.seconds)  # fmt: skip
            cells = (scenario.fault.name, scenario.phase, scenario.store, *figures)
            print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)
            for line in outcome.said:
                print(f"    {line}", file=sys.stderr, flush=True)
    return is_flawless


if __name__ == "__main__":
    raise SystemExit(main())
