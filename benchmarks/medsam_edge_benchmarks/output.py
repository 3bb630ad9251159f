"""Where figures go: the one way to a JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medsam_edge.io import replacing


def write_json(path: Path, result: dict[str, Any]) -> None:
    """Write a suite's result; the file appears whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
