"""A look at a corpus before anything is spent on it: what would fail, what looks wrong, what it will cost."""

from repaint_batch.preflight.cost import Cost, Speed, cost_of, probe
from repaint_batch.preflight.findings import Findings
from repaint_batch.preflight.fitting import try_prior
from repaint_batch.preflight.gate import before_run, refuse_hopeless
from repaint_batch.preflight.looking import preflight

__all__ = [
    "Cost",
    "Findings",
    "Speed",
    "before_run",
    "cost_of",
    "preflight",
    "probe",
    "refuse_hopeless",
    "try_prior",
]
