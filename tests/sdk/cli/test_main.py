from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import cv2
import numpy as np
import pytest
import SimpleITK as sitk

from medsam_edge import Modality, Segmenter
from medsam_edge.cli.main import guarded, main
from medsam_edge.cli.output import slices_shown
from medsam_edge.phantom import phantom, phantom_volume
from tests.sdk.fake import fake_model


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "lesion.png"
    cv2.imwrite(str(path), cv2.cvtColor(phantom("Dermoscopy").image, cv2.COLOR_RGB2BGR))
    return path


def test_demo_writes_a_picture_and_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "-o", str(tmp_path / "demo")]) == 0
    names = {file.name for file in (tmp_path / "demo").iterdir()}
    assert "overlay.png" in names
    assert len(names) == 12
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["modality", "objects", "DSC"]
    scores = [float(line.split()[2]) for line in lines[1:12]]
    assert all(0.5 < score <= 1 for score in scores)
    overlay = cv2.imread(str(tmp_path / "demo" / "overlay.png"))
    assert overlay is not None
    assert overlay.std() > 10


def test_segment_writes_mask_overlay_and_json(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    box = ",".join(f"{value:g}" for value in phantom("Dermoscopy").boxes[0])
    mask, overlay = tmp_path / "mask.png", tmp_path / "overlay.png"
    arguments = ["segment", str(image), "--box", box, "--modality", "skin", "-o", str(mask), "--overlay", str(overlay)]
    assert main([*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    labels = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
    assert printed["modality"] == "Dermoscopy"
    assert printed["objects"][0]["pixels"] == int((labels == 1).sum()) > 100
    assert cv2.imread(str(overlay)).shape == (256, 256, 3)
    assert main(arguments) == 0
    assert "score" in capsys.readouterr().out


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
def test_boxes_from_a_file(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert main(["segment", str(image), "--boxes", str(tmp_path / name), "-o", str(tmp_path / "o.npz"), "--json"]) == 0
    boxes = [item["box"] for item in json.loads(capsys.readouterr().out)["objects"]]
    assert boxes == [[10, 20, 60, 80], [100, 100, 150.5, 140]]


def test_challenge_npz_brings_its_own_boxes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = phantom("Fundus")
    np.savez(tmp_path / "2DBox_Fundus.npz", imgs=truth.image, boxes=truth.boxes.astype(int), spacing=np.ones(3))
    assert main(["segment", str(tmp_path / "2DBox_Fundus.npz"), "-o", str(tmp_path / "o.npz"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["objects"]) == len(truth.boxes)
    with np.load(tmp_path / "o.npz") as arrays:
        assert arrays["segs"].shape == truth.labels.shape


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "required"),
        (["paint"], 2, "invalid choice"),
        (["segment", "IMAGE"], 2, "-o"),
        (["segment", "IMAGE", "-o", "OUT"], 2, "--box"),
        (["segment", "nowhere.png", "--box", "1,2,3,4", "-o", "OUT"], 2, "nowhere.png"),
        (["segment", "IMAGE", "--box", "1,2,3", "-o", "OUT"], 2, "4 or 6 numbers"),
        (["segment", "IMAGE", "--box", "a,b,c,d", "-o", "OUT"], 2, "4 or 6 numbers"),
        (["segment", "IMAGE", "--box", "nan,2,3,4", "-o", "OUT"], 2, "finite"),
        (["segment", "IMAGE", "--box", "9,2,3,4", "-o", "OUT"], 2, "swapped"),
        (["segment", "IMAGE", "--box", "900,900,950,950", "-o", "OUT"], 2, "meets"),
        (["segment", "IMAGE", "--box", "1,2,3,4", "--modality", "XX", "-o", "OUT"], 2, "modality"),
        (["segment", "IMAGE", "--box", "1,2,3,4", "--window", "1", "-o", "OUT"], 2, "--window"),
        (["segment", "IMAGE", "--boxes", "none.json", "-o", "OUT"], 2, "none.json"),
        (["segment", "IMAGE", "--box", "1,2,3,4", "-o", "OUT.gif"], 2, "output"),
        (["segment", "IMAGE", "--box", "1,2,3,4", "-o", "OUT", "--overlay", "x.gif"], 2, "output"),
        (["segment", "IMAGE", "--box", "1,2,3,4", "--bundle", "nowhere", "-o", "OUT"], 1, "bundle"),
        (["segment", "IMAGE", "--box", "1,2,3,4", "--bundle", "nowhere", "-o", "x.dcm"], 2, "image read from DICOM"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line_and_leaves_nothing(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    out = tmp_path / "out.png"
    places = {"IMAGE": str(image), "OUT": str(out), "OUT.gif": str(out.with_suffix(".gif"))}
    assert main([places.get(argument, argument) for argument in arguments]) == code
    printed = capsys.readouterr()
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = sitk.GetImageFromArray(phantom_volume("CT", (8, 64, 64), objects=2).image)
    image.SetSpacing((0.5, 0.75, 3.0))
    path = tmp_path_factory.mktemp("volumes") / "ct.nii.gz"
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("axis", ["axial", "sagittal"])
def test_segment_a_volume(volume: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], axis: str) -> None:
    boxes = phantom_volume("CT", (8, 64, 64), objects=2).boxes
    first, mask, overlay = ",".join(f"{v:g}" for v in boxes[0]), tmp_path / "mask.nii.gz", tmp_path / "overlay.png"
    (tmp_path / "boxes.json").write_text(json.dumps(boxes[1:].tolist()))
    arguments = ["segment", str(volume), "--box", first, "--boxes", str(tmp_path / "boxes.json"), "--modality", "CT"]
    arguments += ["--axis", axis, "-o", str(mask), "--overlay", str(overlay)]
    assert main([*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    saved = sitk.ReadImage(str(mask))
    labels = sitk.GetArrayFromImage(saved)
    assert saved.GetSpacing() == pytest.approx((0.5, 0.75, 3.0))
    assert labels.shape == (8, 64, 64)
    assert [item["box"] for item in printed["objects"]] == boxes.tolist()
    assert printed["objects"][1]["voxels"] == int((labels == 2).sum()) > 100
    column = 2 if axis == "axial" else 0
    for item, box in zip(printed["objects"], boxes.astype(int), strict=True):
        assert [int(z) for z in item["slice_scores"]] == list(range(box[column], box[3 + column]))
    rows = 64 if axis == "axial" else 8
    assert cv2.imread(str(overlay)).shape in ((rows, 64, 3), (rows, 128, 3))  # one or two middle slices
    assert main(arguments) == 0
    assert "voxels" in capsys.readouterr().out


def test_a_challenge_volume_is_segmented_up_to_the_last_slice_of_its_boxes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medsam_edge.cli.segment.Segmenter", lambda bundle, **settings: Segmenter(fake_model()))
    image = np.random.default_rng(0).integers(0, 255, (6, 64, 64), dtype=np.uint8)
    np.savez(tmp_path / "3DBox_CT.npz", imgs=image, boxes=np.array([[10, 20, 2, 30, 40, 5]]))
    assert main(["segment", str(tmp_path / "3DBox_CT.npz"), "-o", str(tmp_path / "o.npz"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["objects"][0]["box"] == [10, 20, 2, 30, 40, 6]
    with np.load(tmp_path / "o.npz") as arrays:
        assert np.flatnonzero(arrays["segs"].any(axis=(1, 2))).tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--box", "1,2,3,40,50,6", "-o", "OUT.png"], "for a volume, got OUT.png"),
        (["--box", "1,2,3,40", "-o", "OUT.nii"], "volumes with boxes (N, 6)"),
        (["--box", "1,2,3,40,50,6", "--box", "1,2,3,40", "-o", "OUT.nii"], "box 1 has 4"),
        (["--box", "1,2,9,40,50,12", "-o", "OUT.nii"], "meets the 64x64x8 volume"),
        (["--box", "1,2,3,40,50", "-o", "OUT.nii"], "4 or 6 numbers"),
        (["--box", "1,2,3,40,50,6", "--axis", "front", "-o", "OUT.nii"], "--axis"),
    ],
)
def test_bad_input_for_a_volume(
    volume: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["segment", str(volume), *arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


def test_progress_is_one_line_that_is_wiped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with slices_shown() as progress:
        assert progress is None
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with slices_shown() as progress:
        assert progress is not None
        for done in (1, 2):
            progress(done, 2)
    assert capsys.readouterr().err == f"1 of 2 slices\r2 of 2 slices\r{' ' * 13}\r"


@pytest.mark.parametrize(
    "text", ["{}", "[[1,2,3]]", "[1,2,3,4]", "x", '[["a",1,2,3]]', "[" * 10**5, f"[[{10**400}, 1, 2, 3]]"]
)
def test_bad_box_files(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
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
def test_a_first_row_that_is_no_box_is_no_header(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], row: str
) -> None:
    (tmp_path / "boxes.csv").write_text(f"{row}\n10,20,60,80\n")
    arguments = ["segment", str(image), "--boxes", str(tmp_path / "boxes.csv"), "-o", str(tmp_path / "out.png")]
    assert main(arguments) == 2
    assert "finite" in capsys.readouterr().err


@pytest.mark.parametrize("error", [MemoryError(), OSError("disk full")])
def test_what_the_machine_lacks_is_one_line(capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    def command(_: list[str]) -> int:
        raise error

    assert guarded(command, []) == 1
    assert capsys.readouterr().err == f"medsam-edge: error: {str(error) or 'MemoryError'}\n"


def test_what_a_network_recognises_is_said(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fake takes every picture for CT, less surely the brighter it is."""
    segmenter = Segmenter(fake_model(classes=tuple(Modality)))
    monkeypatch.setattr("medsam_edge.cli.segment.Segmenter", lambda *_, **__: segmenter)
    arguments = ["segment", str(image), "--box", "10,20,60,80", "-o", str(tmp_path / "o.png")]
    confidence = segmenter.embed(image).class_scores[Modality.CT]
    assert main([*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["modality"], printed["modality_confidence"]) == ("CT", round(confidence, 4))
    assert main(arguments) == 0
    assert f"recognised as CT ({confidence:.0%})" in capsys.readouterr().out
    assert main([*arguments, "--json", "--modality", "MR"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["modality"], printed["modality_confidence"]) == ("MR", None)
    assert main(["demo", "-o", str(tmp_path / "demo")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[-1] == "recognised"
    assert "CT" in lines[1].split()[-2]


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["packaged"] is True
    assert "CPU" in facts["devices"]
    assert facts["weights"]["encoder"] in ("int8", "f32")
    assert isinstance(facts["class prompts"], list)
    assert main(["info"]) == 0
    assert "openvino" in capsys.readouterr().out


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert main(["--version"]) == 0
    assert "medsam-edge" in capsys.readouterr().out


@pytest.mark.parametrize("loads", [None, "import", "run"])
def test_commands_of_missing_extras_say_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, loads: str | None
) -> None:
    """Not there at all; there, but its imports fail; there, but something it needs only now is missing."""

    def fail(*_: object) -> NoReturn:
        raise ModuleNotFoundError("No module named 'nncf'", name="nncf")

    entry = SimpleNamespace(load=fail if loads == "import" else lambda: fail)
    monkeypatch.setattr("medsam_edge.cli.main.entry_points", lambda **_: [entry] if loads else [])
    assert main(["bench", "encoder"]) == 2
    message = capsys.readouterr().err
    assert "medsam-edge[benchmarks]" in message
    assert ("nncf" in message) is bool(loads)


def test_module_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "medsam_edge", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("medsam-edge ")


def test_names_that_the_terminal_cannot_write(image: Path, tmp_path: Path) -> None:
    target = tmp_path / "脑.png"
    command = [sys.executable, "-m", "medsam_edge", "segment", str(image), "--box", "9,9,60,60", "-o", str(target)]
    ended = subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert b"\\u8111.png" in ended.stdout
    assert target.exists()
