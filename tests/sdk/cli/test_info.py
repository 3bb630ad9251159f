from __future__ import annotations

import json

import pytest

from medsam_edge.cli.main import main


def test_info_prints_the_devices_and_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["packaged"] is True
    assert "CPU" in facts["devices"]
    assert facts["weights"]["encoder"] in ("int8", "f32")
    assert isinstance(facts["class prompts"], list)
    assert main(["info"]) == 0
    assert "openvino" in capsys.readouterr().out
