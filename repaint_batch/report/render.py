"""Pages from the templates beside this module, everything in them escaped."""

from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from repaint_batch.report.progress import duration


def render(template: str, **values: Any) -> str:
    """Return the named template with `values`; strings are escaped for HTML, a missing value is an error."""
    return _environment().get_template(template).render(**values)


def source(name: str) -> str:
    """Return a file of the templates as it stands."""
    return (resources.files("repaint_batch.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("repaint_batch.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["db"] = lambda value: f"{value:.1f}"
    environment.filters["count"] = lambda value: f"{value:,}"
    environment.filters["duration"] = duration
    environment.filters["percent"] = _percent
    environment.filters["si"] = _si
    return environment


def _percent(share: float) -> str:
    """Return a share as per cent, exact at the ends: no 100 % where one is missing."""
    value = 100 * share
    return f"{value:.1f}" if 0 < value < 10 or 99 < value < 100 else f"{value:.0f}"


def _si(value: float) -> str:
    """Return a large number for people: 12,345 or 1.23 million."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if value >= size:
            return f"{value / size:.3g} {word}"
    return f"{value:,.0f}"
