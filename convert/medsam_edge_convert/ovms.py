"""A bundle as a model repository of OpenVINO Model Server: a folder for each network, with its version.

encoder/1/encoder.xml, .bin
decoder/1/decoder.xml, .bin
config.json                 which the server is started with
manifest.json, MODEL_CARD.md    what the client needs: see docs/how-to/model-server.md
"""

from __future__ import annotations

import json
from pathlib import Path

from medsam_edge.networks.bundle import CARD_FILE, MANIFEST_FILE, MODEL_FILES, load_bundle

NETWORKS = ("encoder", "decoder")
VERSION = "1"
CONFIG_FILE = "config.json"


def write_repository(bundle: Path, folder: Path) -> None:
    """Write a verified bundle's networks in the server's layout into a new folder.

    Raises:
        BundleError: the bundle is missing, damaged or tampered with.
        FileExistsError: the folder exists.
    """
    loaded = load_bundle(bundle)
    folder.mkdir(parents=True)
    for name in MODEL_FILES:
        target = folder / Path(name).stem / VERSION / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(loaded.contents[name])
    models = [{"config": {"name": name, "base_path": name}} for name in NETWORKS]
    (folder / CONFIG_FILE).write_text(json.dumps({"model_config_list": models}, indent=2) + "\n", encoding="utf-8")
    for name in (MANIFEST_FILE, CARD_FILE):
        if (bundle / name).is_file():
            (folder / name).write_bytes((bundle / name).read_bytes())
