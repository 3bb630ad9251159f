from __future__ import annotations

import json
from pathlib import Path

import pytest

from medsam_edge.cli.main import main


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("boxes.json", "[[10, 20, 60, 80], [100, 100, 150.5, 140]]"),
        ("boxes.csv", "10,20,60,80\n100,100,150.5,140\n"),
        ("head.csv", "x0,y0,x1,y1\n10,20,60,80\n100,100,150.5,140\n"),
        ("mark.csv", "\ufeff10,20,60,80\n100,100,150.5,140\n"),
        ("mark.json", "\ufeff[[10, 20, 60, 80], [100, 100, 150.5, 140]]"),
    ],
)
def test_boxes_are_read_from_json_and_csv(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert main(["segment", str(image), "--boxes", str(tmp_path / name), "-o", str(tmp_path / "o.npz"), "--json"]) == 0
    boxes = [item["box"] for item in json.loads(capsys.readouterr().out)["objects"]]
    assert boxes == [[10, 20, 60, 80], [100, 100, 150.5, 140]]


@pytest.mark.parametrize(
    "text", ["{}", "[[1,2,3]]", "[1,2,3,4]", "x", '[["a",1,2,3]]', "[" * 10**5, f"[[{10**400}, 1, 2, 3]]"]
)
def test_bad_box_files_are_refused(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    file = tmp_path / "boxes.json"
    file.write_text(text)
    out = tmp_path / "out.png"
    code = main(["segment", str(image), "--boxes", str(file), "-o", str(out)])
    if text == "{}":  # no rows: no boxes, an empty mask
        assert code == 0
    else:
        assert code == 2
        assert "--boxes" in capsys.readouterr().err
        assert not out.exists()


@pytest.mark.parametrize("row", ["inf,1,2,3", "1,nan,2,3", "1,2,-Infinity,3"])
def test_a_first_row_with_infinite_numbers_is_not_a_header(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], row: str
) -> None:
    (tmp_path / "boxes.csv").write_text(f"{row}\n10,20,60,80\n")
    arguments = ["segment", str(image), "--boxes", str(tmp_path / "boxes.csv"), "-o", str(tmp_path / "out.png")]
    assert main(arguments) == 2
    assert "finite" in capsys.readouterr().err
