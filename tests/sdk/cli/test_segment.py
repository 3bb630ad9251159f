from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK as sitk

from medsam_edge import Modality, Segmenter
from medsam_edge.cli.main import main
from medsam_edge.inference.predictor import Predictor
from medsam_edge.phantom import phantom, phantom_volume
from medsam_edge.reading.read import read_image
from tests.sdk.fake import fake_model, prompted_model
from tests.sdk.jpegs import write_jpeg


def test_segment_writes_mask_overlay_and_json(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    box = ",".join(f"{value:g}" for value in phantom("Dermoscopy").boxes[0])
    mask, overlay = tmp_path / "mask.png", tmp_path / "overlay.png"
    arguments = ["segment", str(image), "--box", box, "--modality", "skin", "-o", str(mask), "--overlay", str(overlay)]
    assert main([*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    labels = read_image(mask).pixels
    assert printed["modality"] == "Dermoscopy"
    assert printed["objects"][0]["pixels"] == int((labels == 1).sum()) > 100
    assert cv2.imread(str(overlay)).shape == (256, 256, 3)
    assert main(arguments) == 0
    assert "score" in capsys.readouterr().out


def test_a_reduced_jpg_has_a_label_map_and_an_overlay_of_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medsam_edge.cli.segment.Segmenter", lambda bundle, **settings: Segmenter(fake_model()))
    path, shapes = write_jpeg(tmp_path / "x.jpg", np.eye(640, 1024, dtype=np.uint8) * 200), []
    embed = Predictor.embed
    monkeypatch.setattr(Predictor, "embed", lambda *given: shapes.append(given[1].shape) or embed(*given))
    arguments = ["segment", str(path), "--box", "160,160,480,320", "-o", str(tmp_path / "y.png")]
    for option in ([], ["--reduced-jpeg"]):
        assert main([*arguments, "--overlay", str(tmp_path / "z.png"), *option]) == 0
        assert cv2.imread(str(tmp_path / "y.png")).shape == cv2.imread(str(tmp_path / "z.png")).shape == (640, 1024, 3)
    assert shapes == [(640, 1024), (320, 512)]
    assert main([*arguments, "--reduced-jpeg", "--compat", "rep-medsam"]) == 2
    (tmp_path / "in").mkdir()
    path.rename(tmp_path / "in" / "x.jpg")
    (tmp_path / "in" / "x.json").write_text("[[160, 160, 480, 320]]")
    folder = ["segment", str(tmp_path / "in"), "--boxes", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    assert main([*folder, "--reduced-jpeg"]) == 0
    assert shapes[2:] == [(320, 512)]


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


@pytest.mark.parametrize("axis", ["axial", "sagittal"])
def test_segment_writes_the_label_map_of_a_volume(
    volume: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], axis: str
) -> None:
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
def test_bad_input_for_a_volume_is_refused(
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


def test_a_recognised_modality_is_printed(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fake recognises every image as CT, with less confidence the brighter it is."""
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


def test_a_file_name_that_the_terminal_cannot_show_is_escaped(image: Path, tmp_path: Path) -> None:
    target = tmp_path / "脑.png"
    command = [sys.executable, "-m", "medsam_edge", "segment", str(image), "--box", "9,9,60,60", "-o", str(target)]
    ended = subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert b"\\u8111.png" in ended.stdout
    assert target.exists()


@pytest.fixture
def prompted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medsam_edge.cli.segment.Segmenter", lambda bundle, **settings: Segmenter(prompted_model()))


@pytest.mark.usefixtures("prompted")
def test_clicks_and_a_mask_prompt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The mask of the prompt, and a disk of radius 3 around the click; another click takes a disk away."""
    labels = np.zeros((64, 64), np.uint8)
    labels[20:30, 20:30] = 1
    cv2.imwrite(str(tmp_path / "x.png"), np.eye(64, dtype=np.uint8) * 200)
    cv2.imwrite(str(tmp_path / "prior.png"), labels)
    base = ["segment", str(tmp_path / "x.png"), "-o", str(tmp_path / "y.png")]
    clicks = ["--point", "50,50", "--point", "24,24,0"]
    assert main([*base, "--box", "16,16,40,40", "--prior", str(tmp_path / "prior.png"), *clicks]) == 0
    found = read_image(tmp_path / "y.png").pixels
    assert found[50, 50] == 1 and found[20, 20] == 1 and found[24, 24] == 0 and found[35, 35] == 0
    assert main([*base, "--point", "50,50", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["objects"][0]["box"] is None
    assert main([*base, "--point", "50,50"]) == 0
    assert "none" in capsys.readouterr().out
    wrong = [
        (["--point", "50"], "--point: expected 2 or 3 numbers"),
        (["--point", "1,2", "--box", "1,1,9,9", "--box", "1,1,9,9"], "--point: expected one box or none, got 2"),
        (["--point", "90,2"], "inside 64x64"),
    ]
    for options, message in wrong:
        assert main([*base, *options]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.usefixtures("prompted")
def test_following_from_a_click_or_a_box_on_one_slice(tmp_path: Path) -> None:
    volume = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 255, (5, 64, 64), dtype=np.uint8))
    sitk.WriteImage(volume, str(tmp_path / "v.nii.gz"))
    base = ["segment", str(tmp_path / "v.nii.gz"), "-o", str(tmp_path / "y.nii.gz")]
    for options in (["--point", "30,20,2"], ["--box", "16,16,2,40,40,3", "--follow"]):
        assert main([*base, *options]) == 0
        labels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "y.nii.gz")))
        assert labels.any(axis=(1, 2)).all()
    assert main([*base, "--box", "16,16,1,40,40,3", "--follow"]) == 2


def test_prompts_are_for_one_image(tmp_path: Path) -> None:
    assert main(["segment", str(tmp_path), "-o", str(tmp_path / "o"), "--point", "1,2"]) == 2
