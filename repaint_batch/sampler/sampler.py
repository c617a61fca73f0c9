"""What a sampler is: settings that decide a table."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, ClassVar

from repaint_batch.sampler.schedule import NoiseSchedule
from repaint_batch.sampler.table import Table


@dataclass(frozen=True)
class Sampler(ABC):
    """Settings of one algorithm; a frozen dataclass whose fields decide the result.

    A sampler of one's own names itself and makes its table, and everything that restores takes it:

        >>> from dataclasses import dataclass
        >>> from repaint_batch.sampler.sampler import Sampler
        >>> from repaint_batch.sampler.table import Line, Step, Table
        >>> @dataclass(frozen=True)
        ... class Ddim(Sampler):
        ...     name, version = "ddim-replace", 1
        ...     num_steps: int = 50
        ...
        ...     def table(self, schedule, *, fixed_large_variance=False):
        ...         process = schedule.respaced(self.num_steps)
        ...         a, s = process.alpha_bar.sqrt(), (1 - process.alpha_bar).sqrt()
        ...         steps = []
        ...         for i in reversed(range(self.num_steps)):
        ...             a_next, s_next = (a[i - 1], s[i - 1]) if i else (1.0, 0.0)
        ...             hole = Line(cx=s_next / s[i], c0=a_next - s_next * a[i] / s[i])
        ...             steps.append(Step(i, hole, known=Line(cy=a_next, cn=s_next)))
        ...         return Table.of(process, steps, len(schedule))

    Attributes:
        name: of the algorithm, for fingerprints.
        version: raised whenever the algorithm gives other results with the same settings.
    """

    name: ClassVar[str]
    version: ClassVar[int]

    @abstractmethod
    def table(self, schedule: NoiseSchedule, *, fixed_large_variance: bool = False) -> Table:
        """Return the sampler's steps on a process.

        Args:
            schedule: the process that the network was trained with.
            fixed_large_variance: whether an unlearned reverse variance is beta_t rather than the posterior's.

        Raises:
            PriorError: the process is too short for these settings.
        """

    @property
    def nfe(self) -> int:
        """Network evaluations a window costs."""
        return _counted(self)[0]

    @property
    def entry_nfe(self) -> int:
        """Network evaluations of a window that starts from a draft."""
        return _counted(self)[1]

    def describe(self) -> dict[str, Any]:
        """Return the algorithm's name, version and settings, as JSON-serialisable values."""
        return {"sampler": self.name, "version": self.version, **asdict(self)}


@cache
def _counted(sampler: Sampler) -> tuple[int, int]:
    # The steps of a sampler do not depend on the process, where that is long enough.
    steps = max(1000, getattr(sampler, "num_steps", 0))
    table = sampler.table(NoiseSchedule.linear(steps))
    return len(table), len(table) - table.entry
