"""The templates of the HTML pages."""

from __future__ import annotations

from functools import cache
from importlib import resources

import jinja2


@cache
def load_template(path: str) -> jinja2.Template:
    """Template at a path of this package; every text that it shows is escaped, and an unknown name is an error."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(resources.files("anthem_evaluation").joinpath(path).read_text(encoding="utf-8"))
