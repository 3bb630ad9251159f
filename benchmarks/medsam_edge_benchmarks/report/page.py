"""What every report's page is made of: one file that needs no network, and one style."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #f3f4f6; color: #1f2937; font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 28px; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 0 0 6px; }
h3 { font-size: 15px; margin: 22px 0 0; }
p { margin: 6px 0; color: #4b5563; max-width: 84ch; }
section { background: #fff; border: 1px solid #e5e7eb; border-radius: 10px; padding: 20px 24px; margin-top: 20px; }
img { width: 100%; height: auto; display: block; margin-top: 10px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 14px; margin-top: 20px; }
.tile { background: #fff; border: 1px solid #e5e7eb; border-radius: 10px; padding: 16px 18px; }
.tile b { display: block; font-size: 26px; line-height: 1.2; color: #c2410c; font-weight: 650; }
.tile span { color: #4b5563; font-size: 13.5px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; margin-top: 8px; }
th { text-align: right; font-weight: 500; color: #6b7280; border-bottom: 1px solid #d1d5db; padding: 4px 8px; }
td { text-align: right; padding: 5px 8px; border-bottom: 1px solid #eef0f2; white-space: nowrap; vertical-align: top; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td small { display: block; color: #6b7280; font-size: 11.5px; }
tr.ours td { background: #fff7ed; font-weight: 600; }
tr.ours td small { font-weight: 400; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px; margin: 8px 0 0; }
dt { color: #6b7280; } dd { margin: 0; }
ul { margin: 8px 0 0; padding-left: 18px; color: #4b5563; }
"""


def document(title: str, parts: Iterable[str]) -> str:
    """A whole page around its parts."""
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f"<meta name='viewport' content='width=device-width, initial-scale=1'><title>{escape(title)}</title>"
        f"<style>{STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>\n"
    )


def section(title: str, picture: str, text: str, after: str = "") -> str:
    """A title, a paragraph if any, a picture from a data address, and what follows it as HTML."""
    words = f"<p>{escape(text)}</p>" if text else ""
    image = f"<img alt='{escape(title)}' src='{picture}'>" if picture else ""
    return f"<section><h2>{escape(title)}</h2>{words}{image}{after}</section>"


def tiles(numbers: Iterable[tuple[str, str]]) -> str:
    """Large numbers side by side, each with what it says."""
    shown = (f"<div class='tile'><b>{escape(number)}</b><span>{escape(text)}</span></div>" for number, text in numbers)
    return f"<div class='tiles'>{''.join(shown)}</div>"


def facts(title: str, values: Mapping[str, object]) -> str:
    """Names and values in two columns."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(_plain(value))}</dd>" for name, value in values.items())
    return f"<section><h2>{escape(title)}</h2><dl>{rows}</dl></section>"


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
