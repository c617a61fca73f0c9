"""A year of nights over one corpus, on disk, by a clock of its own: what the table becomes, and whether what is kept stays.

    python infra/measure_year.py FOLDER                   366 nights
    python infra/measure_year.py FOLDER --nights 60       fewer

Needs libfaketime (Debian: apt install libfaketime), by which every clock in the process goes from a year ago to today, also
deltalake's. Every night brings new pictures, changed ones and deletions, one that is broken, and one that was only copied again;
every week a redo from a review; every month a rollback of the last night, which is then run once more, and a rollback to the
oldest version that is to be kept, and forth; three times redos bring a column more. Pictures are 16 px, the prior is a tiny
untrained network: what is measured is the table. It runs without Ray, shard after shard.
"""

import argparse
import contextlib
import hashlib
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]
DAY_S = 86400
KEEP_DAYS = 45
PICTURES = 100
LIBRARY = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


class Clock:
    """The clock of the year: libfaketime asks the environment how far this process is behind, each time anew."""

    def __init__(self, nights: int) -> None:
        self._nights, real = nights, time.time() + nights * DAY_S
        self.turn(nights - 1)
        if abs(time.time() - real + DAY_S) > DAY_S / 2:
            raise SystemExit("the clock does not obey libfaketime")

    def turn(self, night: int) -> None:
        """Go to a night."""
        os.environ["FAKETIME"] = f"-{(self._nights - night) * DAY_S}"

    @staticmethod
    def begin(nights: int) -> None:
        """Start this process anew under libfaketime."""
        if not Path(LIBRARY).exists():
            raise SystemExit(f"{LIBRARY} is not there; apt install libfaketime")
        how = {"LD_PRELOAD": LIBRARY, "FAKETIME": f"-{nights * DAY_S}", "FAKETIME_NO_CACHE": "1",
               "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1", "OMP_NUM_THREADS": "1"}  # fmt: skip
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **how})


@contextlib.contextmanager
def dated(output: Path) -> Iterator[Any]:
    """Let listings tell the year's time of what was written: the kernel has a clock of its own. Yield what makes it stay so."""
    from repaint_batch import disk

    walk = disk.walk

    def told(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for uri, info in walk(path):
            yield uri, {**info, "modified": min(info["modified"], time.time())}

    def stamp() -> None:
        now = time.time()
        for folder, _, names in os.walk(output):
            for name in names:
                if os.stat(path := os.path.join(folder, name)).st_mtime > now:
                    os.utime(path, (now, now))

    disk.walk = told
    try:
        yield stamp
    finally:
        disk.walk = walk


@dataclass
class Age:
    """What is measured of a night.

    Attributes:
        night: which one it was.
        night_s: how long it took.
        sampled: rows that it ran.
        open_s: what opening the table takes afterwards.
        rows: of the table.
        files: data files of its newest version.
        objects: objects by folder of the output.
        size_mib: likewise, in MiB.
        kept: versions that can be returned to.
    """

    night: int
    night_s: float
    sampled: int
    open_s: float
    rows: int
    files: int
    objects: Counter[str]
    size_mib: Counter[str]
    kept: int

    def words(self) -> str:
        """Return it as a line of the table."""
        objects = "  ".join(f"{self.objects[name]:5,}" for name in PLACES)
        sizes = "  ".join(f"{self.size_mib[name]:6.2f}" for name in PLACES[:3])
        return (f"{self.night:5}  {self.rows:5}  {self.files:5}  {self.kept:5}  {self.open_s * 1e3:7.1f}  {self.night_s:7.2f}  "
                f"{self.sampled:7}  {objects}  {sizes}")  # fmt: skip


PLACES = ("results", "results/_delta_log", "images", "jobs", "nights")
HEAD = "night   rows  files   kept  open ms  night s  sampled  " + "  ".join(("table", "  log", " imgs", " jobs", "night")) + (
    "    table     log  images MiB")  # fmt: skip


class Year:
    """The corpus, its output, and what is done to both.

    Args:
        folder: empty.
        clock: of the year.
        stamp: makes the time of what was written stay the year's.
    """

    def __init__(self, folder: Path, clock: Clock, stamp: Any) -> None:
        from repaint_batch.nights.config import NightConfig
        from repaint_batch.storage import Storage
        from repaint_batch.table.results import ResultsTable
        from tests.corpus import save_tiny_prior

        self.folder, self.clock, self.stamp, self.storage = folder, clock, stamp, Storage()
        self.output = str(folder / "out")
        self.config = NightConfig.model_validate(
            {
                "corpus": {"images": str(folder / "pictures"), "masks": str(folder / "masks")},
                "output": {"uri": self.output, "images": "files"},
                "night": {"keep_days": KEEP_DAYS, "most_failed": 1},
                "prior": {"source": save_tiny_prior(folder / "prior")},
                "sampler": {"preset": "draft"},
                "compute": {"shard_rows": 64, "batch_windows": 8},
            }
        )
        self.table = ResultsTable(self.output, self.storage)
        self.there = list(range(PICTURES))
        self.seen: dict[int, tuple[int, dict[str, str]]] = {}
        """Version and what readers got, by night."""
        self.done: Counter[str] = Counter()
        for number in self.there:
            self.put(number, 0)

    def put(self, number: int, edition: int) -> None:
        """Write a picture and its mask."""
        from tests.corpus import encoded, hole, picture

        for kind, data in (("pictures", encoded(picture(number + 10**6 * edition))), ("masks", encoded(hole(number)))):
            self.storage.write(str(self.folder / kind / f"{number % 12:02}" / f"{number:06}.png"), data)

    def change(self, night: int) -> None:
        """Do to the corpus what happens in a day."""
        fresh = range(10_000 + 4 * night, 10_000 + 4 * night + 4)
        for number in fresh:
            self.put(number, 0)
        broken = self.folder / "pictures" / f"{fresh[0] % 12:02}" / f"{fresh[0]:06}.png"
        broken.write_bytes(b"no picture")
        for k in (1, 3, 5):
            self.put(self.there[night * 7 * k % len(self.there)], night)
        old = self.there[(night * 11 + 2) % len(self.there)]
        for kind in ("pictures", "masks"):
            path = self.folder / kind / f"{old % 12:02}" / f"{old:06}.png"
            os.utime(path)  # copied again
        for _ in range(3):
            gone = self.there.pop((night * 13) % len(self.there))
            (self.folder / "pictures" / f"{gone % 12:02}" / f"{gone:06}.png").unlink()
        self.there += fresh

    def night(self) -> tuple[float, int]:
        """Run a night; return how long it took and how many rows it ran."""
        from repaint_batch.nights.night import run_night
        from tests.restored import run_here

        begun = time.monotonic()
        done = run_night(self.config, quiet, run=run_here)
        self.done += Counter({"nights": 1, "rows run": sum(done.rows.values()), "removed": done.removed})
        self.stamp()
        return time.monotonic() - begun, sum(done.rows.values())

    def redo(self, night: int, columns: int) -> None:
        """Have two pictures redone as a review asks for it; with columns that their manifest has gained, if there are any."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        from repaint_batch.outputs.reviews import Decision, Reviews, redos
        from tests.restored import run_here

        good = [row for row in self.table.rows(("sample_id", "output_sha256", "attempt", "status")) if row["status"] == "ok"]
        chosen = good[night % len(good) :][:2]
        wanted = [Decision(row["sample_id"], row["output_sha256"], row["attempt"], "redo", "draft", night) for row in chosen]
        Reviews(self.output, self.storage).record("0" * 16, night, wanted)
        for config, before in redos(self.output, self.storage).jobs:
            rows = pq.read_table(config.input.manifest)
            for column in range(columns):
                rows = rows.append_column(f"note_{column}", pa.array([f"night {night}"] * len(rows)))
            pq.write_table(rows, config.input.manifest)
            run_here(config, quiet, retry_of=before.job_id)
            self.done["redone"] += len(rows)
        self.stamp()

    def served(self) -> dict[str, str]:
        """Return what readers get, by sample: its status and the hash of its file as it is read now."""
        from repaint_batch.outputs.naming import read_output

        rows = self.table.rows(("sample_id", "status", "output", "output_uri", "output_offset", "output_bytes", "output_sha256"))
        got = {}
        for row in rows:
            data = b"" if row["status"] == "failed" else read_output(row, self.output, self.storage)
            assert row["status"] == "failed" or hashlib.sha256(data).hexdigest() == row["output_sha256"], row
            got[row["sample_id"]] = f"{row['status']} {row['output_sha256']}"
        return got

    def remember(self, night: int) -> None:
        """Note what readers get after a night."""
        self.seen[night] = self.table.open().version(), self.served()

    def back_and_forth(self, night: int) -> None:
        """Return to the oldest version that is to be kept, and forth, and hold what readers get against what they got."""
        from repaint_batch.outputs.history import rollback

        then = min(past for past in self.seen if past > night - KEEP_DAYS)
        now = self.table.open().version()
        for version, expected in (self.seen[then], (now, self.served())):
            rollback(self.output, version, self.storage)
            assert self.served() == expected, f"version {version} of night {then} is not what it was"
            self.done["rollbacks"] += 1
        self.stamp()

    def again(self, night: int) -> None:
        """Undo the last night, and run it once more."""
        from repaint_batch.outputs.history import rollback

        rollback(self.output, self.seen[night - 1][0], self.storage)
        assert self.served() == self.seen[night - 1][1]
        self.done["rollbacks"] += 1
        self.night()

    def refuse_older(self, night: int) -> None:
        """Hold that what is not kept any more cannot be returned to, and is not only half there."""
        from repaint_batch.errors import ConfigError
        from repaint_batch.outputs.history import read_history, rollback

        assert all(change.is_whole for change in read_history(self.output, self.storage)), "the log names files that are gone"
        old = [past for past in self.seen if past < night - 2 * KEEP_DAYS]
        if old:
            with contextlib.suppress(ConfigError):
                rollback(self.output, self.seen[old[-1]][0], self.storage)
                raise AssertionError(f"night {old[-1]} can still be returned to after twice the time")

    def age(self, night: int, night_s: float, sampled: int) -> Age:
        """Return what is measured after a night."""
        from repaint_batch.table.log import Log
        from repaint_batch.table.results import ResultsTable

        begun = time.monotonic()
        for _ in range(5):
            ResultsTable(self.output, self.storage).open()
        open_s = (time.monotonic() - begun) / 5
        objects, sizes = Counter[str](), Counter[str]()
        for path in Path(self.output).rglob("*"):
            if path.is_file():
                inside = path.relative_to(self.output).as_posix()
                place = max((name for name in PLACES if inside.startswith(f"{name}/")), key=len, default="")
                objects[place] += 1
                sizes[place] += path.stat().st_size / 2**20  # type: ignore[assignment]
        kept = len(Log(self.table.uri, self.storage).listed()[0])
        snapshot = self.table.snapshot()
        rows = sum(self.table.counts().values())
        return Age(night, night_s, sampled, open_s, rows, len(snapshot.files()), objects, sizes, kept)


@contextlib.contextmanager
def quiet(plan: Any, rows_done: int, shards_done: int) -> Iterator[None]:
    """Watch a job and say nothing."""
    yield


def main() -> None:
    """Live through the year, and print what it did to the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nights", type=int, default=366)
    parser.add_argument("--every", type=int, default=30, help="nights between two lines")
    arguments = parser.parse_args()
    if "FAKETIME" not in os.environ:
        Clock.begin(arguments.nights)
    clock = Clock(arguments.nights)
    with dated(arguments.folder / "out") as stamp:
        live(Year(arguments.folder.absolute(), clock, stamp), arguments.nights, arguments.every)


def live(year: Year, nights: int, every: int) -> None:
    """Go from night to night."""
    from repaint_batch.outputs.verify import verify

    print(HEAD, flush=True)
    for night in range(nights):
        year.clock.turn(night)
        if night:
            year.change(night)
        night_s, sampled = year.night()
        year.remember(night)
        if night % 7 == 6:
            year.redo(night, columns=night // 120)
            year.remember(night)
        if night % 30 == 29:
            year.again(night)
            year.remember(night)
            year.back_and_forth(night)
            year.remember(night)
            year.refuse_older(night)
        if night % every == every - 1 or night in (0, nights - 1):
            print(year.age(night, night_s, sampled).words(), flush=True)
    found = verify(year.output, year.storage)
    told = ", ".join(f"{count:,} {what}" for what, count in year.done.items())
    print(f"{told}; verify: {found.rows.total():,} rows, {found.compared:,} compared, problems: {dict(found.kinds) or 'none'}")
    shutil.rmtree(year.folder / "prior")
    raise SystemExit(found.exit_code)


if __name__ == "__main__":
    main()
