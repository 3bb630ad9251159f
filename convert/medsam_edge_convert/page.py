"""Reports as HTML: Jinja2 templates around one stylesheet. Each page is one file that needs no network."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medsam_edge.writing.whole import replacing


class Line(NamedTuple):
    """A row of a table on a page."""

    cells: Sequence[Sequence[str]]  # each a text and, if there is a second one, what stands below it in small print
    style: str = ""  # CSS class: `ours` or `bad`, or none
    title: str = ""  # shown when the pointer rests on the row


def write_page(path: Path, package: str, template: str, **values: Any) -> None:
    """Render a template with these values; values are escaped. The file appears whole or not at all.

    Args:
        package: its folder `templates` holds the template. It may extend and import those of this package.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    loader = ChoiceLoader([PackageLoader(package), PackageLoader("medsam_edge_convert")])
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = pages.get_template(template).render(values)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def data_address(kind: str, content: bytes) -> str:
    """A file of this media type as an address that holds all of it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
