"""Pages from the templates beside this module, everything in them escaped."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, **values: Any) -> str:
    """Return the named template with `values`; strings are escaped for HTML, a missing value is an error."""
    environment = Environment(
        loader=PackageLoader("repaint_batch.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["db"] = lambda value: f"{value:.1f}"
    return environment.get_template(template).render(**values)
