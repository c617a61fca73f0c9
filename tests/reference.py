"""Write the reference of what `repaint_batch` exports, one page from its docstrings: ``python -m tests.reference FOLDER``."""

import sys
import tempfile
from pathlib import Path

import pdoc

import repaint_batch

_TEMPLATE = """{% extends "default/module.html.jinja2" %}
{% macro is_public(doc) %}
  {% if doc.name == "__call__" %}true{% else %}{{ default_is_public(doc) }}{% endif %}
{% endmacro %}
"""


def write(folder: Path) -> Path:
    """Return the page, written into `folder`."""
    names = [name for name in dir(repaint_batch) if not name.startswith("_")]
    for name in names:  # imported when first asked for, but pdoc looks at what is there
        vars(repaint_batch)[name] = getattr(repaint_batch, name)
    shown, repaint_batch.__all__ = repaint_batch.__all__, names  # of which help() shows less
    with tempfile.TemporaryDirectory() as templates:
        (Path(templates) / "module.html.jinja2").write_text(_TEMPLATE)
        pdoc.render.configure(docformat="google", search=False, show_source=False, template_directory=Path(templates))
        pdoc.pdoc("repaint_batch", output_directory=folder)
    repaint_batch.__all__ = shown
    return folder / "repaint_batch.html"


if __name__ == "__main__":
    print(write(Path(sys.argv[1])))
