"""An experiment's results as one HTML file that needs no other: to be kept, sent and printed."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from gateway.http import formats
from gateway.results.figures import figures

_CONSOLE = Path(__file__).parent / "console"


def write_report(one: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """The report of an experiment, as ``/experiments/{experiment}`` and its results tell of it."""
    page = _environment().get_template("experiments/file.html")
    return page.render(one=one, results=results, figures=figures(results, one["record"]), css=_css())


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_CONSOLE / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(formats.FILTERS)
    return environment


@cache
def _css() -> str:
    return "".join(
        (_CONSOLE / "static" / name).read_text(encoding="utf-8") for name in ("base.css", "experiments.css")
    )
