"""Which rows of which job a table holds: exact, and part of the commits themselves.

A commit names what it adds as Delta application transactions, which survive merges, compaction, restoring and the cleaning of
logs; a table keeps the newest number of each name. One transaction stands for a block of 48 manifest rows::

    name    JOB_ID/BLOCK
    number  generation · 2^48 + bitmap        bit k of the bitmap: row 48 · BLOCK + k is in the table, or was superseded there

Adding rows sets bits; a rollback, which clears some, begins a generation. So a number only ever grows, as Delta asks. A million
rows take 20,834 transactions, however small the parcels were; a job of parcels of one row has no more.

``JOB_ID/epoch`` is the generation of the lease under which its driver commits. It is part of every commit of the job, so
that no two drivers commit at once unseen; a driver that finds one higher than its own has been superseded.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from repaint_batch.errors import StorageError
from repaint_batch.table.log import Action, Log
from repaint_batch.table.ranges import Ranges

BLOCK_ROWS = 48
_EPOCH = "epoch"
_BITMAP = (1 << BLOCK_ROWS) - 1

Numbers = dict[str, int]
"""Transaction numbers by name."""


class Ledger:
    """The transactions of a table at one version.

    Attributes:
        version: of the table; -1: there is no table.
        checkpoint: version of the checkpoint from which it was read; -1: there was none.
    """

    def __init__(self, version: int = -1) -> None:
        self.version = self.checkpoint = version
        self._blocks: dict[str, dict[int, int]] = defaultdict(dict)
        self._epochs: dict[str, int] = {}

    @classmethod
    def read(cls, log: Log, upto: int | None = None) -> "Ledger":
        """Return the ledger of the newest version, or of an earlier one.

        Raises:
            StorageError: the store does not answer, or the log does not go back so far.
        """
        checkpoint = log.checkpoint(upto)
        ledger = cls(checkpoint.version if checkpoint else -1)
        for name, number in log.transactions(checkpoint) if checkpoint else ():
            ledger._note(name, number)
        if upto is None or upto > ledger.version:
            for version, actions in log.follow(ledger.version):
                ledger.take(version, actions)
                if version == upto:
                    break
        if upto is not None and ledger.version != upto:
            raise StorageError(f"{log.uri}: entries on the way to version {upto} are gone, from version {ledger.version + 1} on")
        return ledger

    def take(self, version: int, actions: Iterable[Action]) -> None:
        """Go on to the next version, which these actions made."""
        if version != self.version + 1:
            raise ValueError(f"version {version} does not follow {self.version}")
        for action in actions:
            if txn := action.get("txn"):
                self._note(txn["appId"], int(txn["version"]))
        self.version = version

    def _note(self, name: str, number: int) -> None:
        job_id, _, what = name.rpartition("/")
        if what == _EPOCH:
            self._epochs[job_id] = number
        elif what.isdigit():
            self._blocks[job_id][int(what)] = number

    def epoch(self, job_id: str) -> int:
        """Return under which generation of its lease a job has last committed; 0 if it never has."""
        return self._epochs.get(job_id, 0)

    def done(self, job_id: str) -> Ranges:
        """Return the rows of a job that are in the table, or were superseded there."""
        blocks = self._blocks.get(job_id)
        if not blocks:
            return Ranges()
        numbers = sorted(blocks)
        # A zero before and after each block's bits, so that a change of bits is where a range starts or stops.
        bits = (np.array([blocks[number] for number in numbers])[:, None] >> np.arange(BLOCK_ROWS)) & 1
        edges = np.diff(np.pad(bits, ((0, 0), (1, 1))), axis=1)
        firsts = np.array(numbers)[:, None] * BLOCK_ROWS + np.arange(BLOCK_ROWS + 1)
        return Ranges.of(*zip(firsts[edges == 1].tolist(), firsts[edges == -1].tolist(), strict=True))

    def missing(self, job_id: str, rows: Iterable[int]) -> list[int]:
        """Return those of some rows that are not in the table."""
        blocks = self._blocks.get(job_id, {})
        return [row for row in rows if not blocks.get(row // BLOCK_ROWS, 0) >> row % BLOCK_ROWS & 1]

    def adding(self, job_id: str, rows: Iterable[int], epoch: int) -> Numbers:
        """Return the transactions of a commit that adds rows of a job."""
        blocks, changed = self._blocks.get(job_id, {}), dict[int, int]()
        for row in rows:
            block = row // BLOCK_ROWS
            changed[block] = changed.get(block, blocks.get(block, 0)) | 1 << row % BLOCK_ROWS
        return {epoch_id(job_id): epoch} | {f"{job_id}/{block}": number for block, number in changed.items()}

    def turning(self, then: "Ledger") -> Numbers:
        """Return the transactions of a commit that makes the table hold what it held `then`."""
        numbers: Numbers = {}
        for job_id in self.jobs | then.jobs:
            now, before = self._blocks.get(job_id, {}), then._blocks.get(job_id, {})
            for block in now.keys() | before.keys():
                number, bitmap = now.get(block, 0), before.get(block, 0) & _BITMAP
                if number & _BITMAP != bitmap:
                    numbers[f"{job_id}/{block}"] = ((number >> BLOCK_ROWS) + 1) << BLOCK_ROWS | bitmap
        return numbers

    @property
    def jobs(self) -> set[str]:
        """Jobs that have ever committed."""
        return set(self._blocks)


def epoch_id(job_id: str) -> str:
    """Return the name of the transaction that holds a job's epoch."""
    return f"{job_id}/{_EPOCH}"


def actions_of(numbers: Mapping[str, int]) -> list[Action]:
    """Return transactions as they stand in a log."""
    return [{"txn": {"appId": name, "version": number}} for name, number in numbers.items()]
