"""Folders. The fake's mask is its box, so every output can be told from its boxes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from medsam_edge import Modality, Segmenter
from medsam_edge.cli.folder import RECORD, find_images
from medsam_edge.cli.main import main
from medsam_edge.cli.segment import name_modality
from medsam_edge.image import LoadedImage
from medsam_edge.inference import propagation
from medsam_edge.reading.read import read_image
from tests.sdk.dicoms import dataset, series, slices, write
from tests.sdk.fake import SIZE, fake_model

pytestmark = pytest.mark.usefixtures("no_narrowing")

BOX, CUBE = [8, 16, 24, 20], [8, 16, 1, 24, 20, 3]
NOISE = np.random.default_rng(0).integers(0, 255, (4, SIZE, SIZE), dtype=np.uint8)
Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_narrowing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A box bounds all its slices alike, so that the masks of the fake can be worked out by hand."""
    monkeypatch.setattr(propagation, "NARROWING", 0.0)


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> Segmenter:
    segmenter = Segmenter(fake_model())
    monkeypatch.setattr("medsam_edge.cli.segment.Segmenter", lambda *_, **__: segmenter)
    return segmenter


def pictures(root: Path, *names: str) -> list[str]:
    """`in/NAME` and `boxes/STEM.json`; arguments that segment them to `out`."""
    for folder in ("in", "boxes"):
        (root / folder).mkdir(exist_ok=True)
    for shift, name in enumerate(names):
        cv2.imwrite(str(root / "in" / name), np.roll(NOISE[0], shift, axis=1))
        write_box(root / "boxes" / f"{name.partition('.')[0]}.json", BOX)
    return ["segment", str(root / "in"), "-o", str(root / "out"), "--boxes", str(root / "boxes")]


def write_box(path: Path, box: list[int]) -> None:
    path.write_text(json.dumps([box]), encoding="utf-8")


def labels(path: Path) -> npt.NDArray[Any]:
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return np.asarray(arrays["segs"])
    if path.suffix == ".png":
        return read_image(path).pixels
    return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != RECORD) if folder.exists() else []


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "."}


def lines(capsys: Captured) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.filterwarnings("default:--boxes")
def test_boxes_files_without_boxes_give_empty_label_maps(tmp_path: Path) -> None:
    arguments = pictures(tmp_path, "a.png")
    sitk.WriteImage(sitk.GetImageFromArray(NOISE), str(tmp_path / "in" / "b.nii.gz"))
    np.savez(tmp_path / "in" / "c.npz", imgs=NOISE)
    for name in "abc":
        (tmp_path / "boxes" / f"{name}.json").write_text("[]")
    assert main([*arguments, "--overlay", str(tmp_path / "overlays")]) == 0
    assert labels(tmp_path / "out" / "a.png").shape == NOISE.shape[1:]
    for name in ("b.nii.gz", "c.npz"):
        assert labels(tmp_path / "out" / name).shape == NOISE.shape
        assert not labels(tmp_path / "out" / name).any()
    assert (
        main(["segment", str(tmp_path / "in/b.nii.gz"), "--boxes", str(tmp_path / "boxes/b.json"), "-o", "x.png"]) == 2
    )


def test_a_window_costs_only_images_in_colour(tmp_path: Path, capsys: Captured) -> None:
    arguments = pictures(tmp_path, "grey.png", "rgb.png")
    cv2.imwrite(str(tmp_path / "in" / "rgb.png"), np.dstack([NOISE[0], NOISE[1], NOISE[2]]))
    assert main([*arguments, "--window", "100,50"]) == 1
    assert names(tmp_path / "out") == ["grey.png"]
    assert "rgb.png: window: expected None for a colour image" in capsys.readouterr().err


def test_every_kind_of_image_has_its_label_map_and_nothing_else_is_one(tmp_path: Path, capsys: Captured) -> None:
    arguments = pictures(tmp_path, "a.PNG", "b.jpg", "c.bmp", ".hidden.png")
    folder, boxes = tmp_path / "in", tmp_path / "boxes"
    for name in ("d.nii.gz", "e.mhd", "f.nrrd"):
        sitk.WriteImage(sitk.GetImageFromArray(NOISE), str(folder / name))
        write_box(boxes / f"{name[0]}.json", CUBE)
    sitk.WriteImage(sitk.GetImageFromArray(NOISE[:1]), str(folder / "g.dcm"))
    (folder / "g.dcm").replace(folder / "IM.1")  # what it is, its content says
    (boxes / "IM.1.csv").write_text("8,16,24,20\n")
    np.savez(folder / "2DBox_US_1.npz", imgs=NOISE[0], boxes=[BOX])
    np.savez(folder / "3DBox_CT_1.npz", imgs=NOISE, boxes=[[8, 16, 1, 24, 20, 2]])
    np.savez(folder / "own.npz", imgs=NOISE[0], boxes=[[0, 0, 64, 64]])
    write_box(boxes / "own.json", BOX)  # rather than what it carries
    (folder / "notes.txt").write_text("no image")
    (folder / "deeper").mkdir()
    cv2.imwrite(str(folder / "deeper" / "a.png"), NOISE[0])
    assert main([*arguments, "--overlay", str(tmp_path / "drawn")]) == 0
    volumes, planes = {"d.nii.gz", "e.mha", "f.nrrd", "3DBox_CT_1.npz"}, {"a.png", "b.png", "c.png", "IM.1.nii.gz"}
    assert set(names(tmp_path / "out")) == volumes | planes | {"2DBox_US_1.npz", "own.npz"}
    for name in names(tmp_path / "out"):
        found = labels(tmp_path / "out" / name)
        where = (slice(1, 3), slice(16, 20), slice(8, 24)) if name in volumes else (..., slice(16, 20), slice(8, 24))
        assert found.sum() == found[where].sum() == found[where].size
    assert len(names(tmp_path / "drawn")) == 10
    assert cv2.imread(str(tmp_path / "drawn" / "d.png")).shape == (SIZE, SIZE, 3)
    printed = capsys.readouterr()
    assert printed.out.split() == ["done", "skipped", "failed", "seconds", "10", "0", "0", printed.out.split()[-1]]
    assert printed.err.splitlines()[9] == "10 of 10: own.npz"


def test_format_of_all_label_maps(tmp_path: Path) -> None:
    arguments = pictures(tmp_path, "a.png")
    sitk.WriteImage(sitk.GetImageFromArray(NOISE), str(tmp_path / "in" / "b.mha"))
    write_box(tmp_path / "boxes" / "b.json", CUBE)
    assert main([*arguments, "--format", "nii.gz"]) == 0
    assert names(tmp_path / "out") == ["a.nii.gz", "b.nii.gz"]
    assert main([*arguments, "--format", ".png"]) == 1  # no volume is a picture; the picture is one all the same
    assert names(tmp_path / "out") == ["a.nii.gz", "a.png", "b.nii.gz"]


def test_what_exists_is_skipped(tmp_path: Path, capsys: Captured) -> None:
    """Also with the output folders inside the folder of images."""
    arguments = pictures(tmp_path, "a.png", "b.png", "c.png")
    out, drawn = tmp_path / "in" / "out", tmp_path / "in" / "drawn"
    arguments += ["-o", str(out), "--json"]
    assert main(arguments) == 0
    first = lines(capsys)
    assert [Path(line["image"]).name for line in first[:3]] == ["a.png", "b.png", "c.png"]
    assert [line["objects"][0]["pixels"] for line in first[:3]] == [64] * 3
    assert {name: first[3][name] for name in ("done", "skipped", "failed")} == {"done": 3, "skipped": 0, "failed": 0}
    assert first[3]["seconds"] >= 0
    (out / "b.png").unlink()
    (out / "a.png").write_bytes(b"mine")
    assert main(arguments) == 0
    again = lines(capsys)
    assert again[0] == {"image": first[0]["image"], "output": str(out / "a.png"), "skipped": True}
    assert ("objects" in again[1], again[3]["done"], again[3]["skipped"]) == (True, 1, 2)
    assert (out / "a.png").read_bytes() == b"mine"
    assert main([*arguments, "--overwrite"]) == 0
    assert lines(capsys)[3]["done"] == 3
    assert labels(out / "a.png").sum() == 64
    assert main([*arguments, "--overlay", str(drawn)]) == 0  # the label maps exist, the pictures do not
    assert lines(capsys)[3]["done"] == 3
    assert names(drawn) == names(out) == ["a.png", "b.png", "c.png"]


def test_a_bad_image_costs_itself_only(tmp_path: Path, capsys: Captured) -> None:
    arguments = pictures(tmp_path, "a.png", "b.png", "c.png", "d.png", "e.png", "f.png")
    (tmp_path / "in" / "b.png").write_bytes(b"no png")
    write_box(tmp_path / "boxes" / "c.json", [24, 0, 8, 9])
    (tmp_path / "boxes" / "d.json").unlink()
    (tmp_path / "boxes" / "e.csv").write_text("1,2,3,4\n")
    assert main([*arguments, "--json"]) == 1
    printed = capsys.readouterr()
    reports = [json.loads(line) for line in printed.out.splitlines()]
    reasons = [report.get("error") for report in reports[:6]]
    assert [bool(reason) for reason in reasons] == [False, True, True, True, True, False]
    for reason, words in zip(reasons[1:5], ("cannot read", "swapped", "d.csv, found neither", "both"), strict=True):
        assert words in reason
    assert f"medsam-edge: error: b.png: {reasons[1]}" in printed.err.splitlines()
    assert (reports[6]["done"], reports[6]["failed"]) == (2, 4)
    assert names(tmp_path / "out") == ["a.png", "f.png"]
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines()[1].split()[:3] == ["0", "2", "4"]
    assert printed.out.splitlines()[2] == f"failed: b.png: {reasons[1]}"
    assert "a.png" not in printed.err


@pytest.mark.parametrize("error", [MemoryError(), OSError("disk full"), KeyboardInterrupt(), ZeroDivisionError()])
def test_which_errors_are_an_images_own(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, fake: Segmenter, error: BaseException
) -> None:
    arguments, segment = pictures(tmp_path, "a.png", "b.png", "c.png"), fake.segment

    def second_fails(image: LoadedImage, *rest: Any, **options: Any) -> Any:
        if (image.pixels == np.roll(NOISE[0], 1, axis=1)).all():
            raise error
        return segment(image, *rest, **options)

    monkeypatch.setattr(fake, "segment", second_fails)
    if isinstance(error, ZeroDivisionError):
        with pytest.raises(ZeroDivisionError):
            main(arguments)
    else:
        assert main(arguments) == (130 if isinstance(error, KeyboardInterrupt) else 1)
    printed = capsys.readouterr()
    own = isinstance(error, (MemoryError, OSError))
    assert names(tmp_path / "out") == (["a.png", "c.png"] if own else ["a.png"])
    assert ("failed: b.png: " + (str(error) or "MemoryError") in printed.out) is own
    assert ("interrupted" in printed.err) is isinstance(error, KeyboardInterrupt)
    monkeypatch.setattr(fake, "segment", segment)
    assert main(arguments) == 0
    assert names(tmp_path / "out") == ["a.png", "b.png", "c.png"]


KILLED = """
import sys, time
import numpy as np
from pathlib import Path
from medsam_edge import Segmenter
from medsam_edge.cli import main, segment
from medsam_edge.writing import labels
from tests.sdk.fake import fake_model

def halfway(member, array, write=np.lib.format.write_array, calls=[], **options):
    write(member, array, **options)
    calls.append(member)
    if len(calls) == 3:
        member.flush()
        print("half", flush=True)
        time.sleep(60)

labels.np.lib.format.write_array = halfway
segment.Segmenter = lambda *_, **__: Segmenter(fake_model())
main.main(sys.argv[1:])
"""


def test_a_killed_job_goes_on_to_what_an_unbroken_one_gives(tmp_path: Path) -> None:
    """Killed with half of its third file written."""
    arguments = [*pictures(tmp_path, "a.png", "b.png", "c.png", "d.png"), "--format", "npz"]
    path = f"import sys; sys.path[:0] = {sys.path!r}"
    child = subprocess.Popen([sys.executable, "-c", path + KILLED, *arguments], stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "half\n"
        child.send_signal(signal.SIGKILL)
    assert sorted(contents(tmp_path / "out")) == ["a.npz", "b.npz"]
    assert main(arguments) == 0
    assert main([*arguments, "-o", str(tmp_path / "unbroken")]) == 0
    resumed, unbroken = (tmp_path / "out"), (tmp_path / "unbroken")
    assert sorted(contents(resumed)) == names(unbroken) == ["a.npz", "b.npz", "c.npz", "d.npz"]
    for name in names(unbroken):
        np.testing.assert_array_equal(labels(resumed / name), labels(unbroken / name))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["empty", "-o", "out"], "image: expected one of"),
        (["in", "-o", "out"], "expected --boxes DIR"),
        (["in", "-o", "out", "--boxes", "nowhere"], "--boxes: expected a folder"),
        (["in", "-o", "out", "--boxes", "boxes/a.json"], "--boxes: expected a folder"),
        (["in", "-o", "out", "--box", "1,2,3,4"], "--box: is for one image"),
        (["in", "-o", "in", "--boxes", "boxes"], "apart"),
        (["in", "-o", "out", "--boxes", "boxes", "--overlay", "out"], "apart"),
        (["in", "-o", "mask.png", "--boxes", "boxes"], "output: expected a folder"),
        (["in", "-o", "notes", "--boxes", "boxes"], "output: expected a folder"),
        (["in", "-o", "out", "--boxes", "boxes", "--format", "gif"], "output: expected one of"),
        (["same", "-o", "out", "--boxes", "boxes"], "a.jpg and a.png would both be written to"),
        (["drawn", "-o", "out", "--boxes", "boxes", "--overlay", "o"], "a.nii and a.png would both be written to"),
        (["in", "-o", "out", "--boxes", "boxes", "--window", "10,0"], "positive width"),
        (["in", "-o", "out", "--boxes", "boxes", "--window", "foot"], "soft-tissue"),
        (["in", "-o", "out", "--boxes", "boxes", "--streams", "-1"], "streams"),
        (["in", "-o", "out", "--boxes", "boxes", "--modality", "XX"], "modality"),
        (["in/a.png", "-o", "out.png", "--box", "1,2,3,4", "--format", "png"], "--format: is for folders"),
        (["in/a.png", "-o", "in/a.png", "--box", "1,2,3,4"], "apart"),
    ],
)
def test_wrong_usage_is_refused_before_anything_runs(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    pictures(tmp_path, "a.png")
    monkeypatch.chdir(tmp_path)
    for folder, others in (("empty", [".a.png"]), ("same", ["a.png", "a.jpg"]), ("drawn", ["a.png", "a.nii"])):
        (tmp_path / folder).mkdir()
        for other in others:
            (tmp_path / folder / other).write_bytes(b"")
    (tmp_path / "notes").write_text("")
    before = sorted(tmp_path.rglob("*"))
    assert main(["segment", *arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_with_a_dicom_series_is_one_image(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    chest = tmp_path / "study" / "chest.1"
    chest.mkdir(parents=True)
    for number in range(2):
        sitk.WriteImage(sitk.GetImageFromArray(NOISE[:1]), str(chest / f"{number}.dcm"))
    (chest / ".DS_Store").write_text("")
    (tmp_path / "boxes").mkdir()
    write_box(tmp_path / "boxes" / "chest.1.json", CUBE)
    assert find_images(tmp_path / "study") == [chest]
    assert find_images(tmp_path / "study", [chest]) == []
    read: list[Path] = []
    monkeypatch.setattr("medsam_edge.cli.segment.load_image", lambda path, *_: read.append(path) or LoadedImage(NOISE))
    own = ["--boxes", str(tmp_path / "boxes" / "chest.1.json"), "-o", str(tmp_path / "one.nii.gz")]
    assert main(["segment", str(chest), *own]) == 0
    assert "voxels" in capsys.readouterr().out
    assert main(["segment", str(tmp_path / "study"), "--boxes", str(tmp_path / "boxes"), "-o", str(tmp_path)]) == 0
    assert labels(tmp_path / "chest.1.nii.gz").sum() == labels(tmp_path / "one.nii.gz").sum() == 2 * 4 * 16
    assert read == [chest, chest]
    assert find_images(chest) == [chest / "0.dcm", chest / "1.dcm"]
    for number in range(2):
        write_box(tmp_path / "boxes" / f"{number}.json", CUBE)
    apart = ["segment", str(chest), "--boxes", str(tmp_path / "boxes"), "-o", str(tmp_path / "apart")]
    assert main(apart) == 0  # boxes by folder: one for each slice
    assert names(tmp_path / "apart") == ["0.nii.gz", "1.nii.gz"]


def mr_slices() -> list[Dataset]:
    made = slices((0, 2, 4))
    for data in made:
        data.Modality = "MR"
    return made


def export(folder: Path) -> dict[str, Path]:
    """PATIENT/STUDY/SERIES of two series, of two slices and of one; their folders by UID."""
    made, found = mr_slices(), {}
    made[2].SeriesInstanceUID = generate_uid()
    for number, data in enumerate(made):
        found[data.SeriesInstanceUID] = folder / "P1" / "S1" / f"series{number // 2}"
        found[data.SeriesInstanceUID].mkdir(parents=True, exist_ok=True)
        write(found[data.SeriesInstanceUID] / f"{number}", data)
    write(folder / "DICOMDIR", dataset(None, "1.2.840.10008.1.3.10"))
    return found


def test_what_lies_beside_a_series_is_passed_over(tmp_path: Path) -> None:
    folder = series(tmp_path / "series", mr_slices())
    for stray in ("Thumbs.db", "report.pdf", "notes.txt", "labels.nii.gz", "preview.jpg"):
        (folder / stray).write_bytes(b"%PDF")
    write(folder / "XX_0006", dataset(None, "1.3.46.670589.11.0.0.12.2"))
    assert main(["segment", str(folder), "--box", "1,1,0,4,3,2", "-o", str(tmp_path / "x.nii.gz")]) == 0
    assert labels(tmp_path / "x.nii.gz").sum() == 3 * 2 * 2


def test_one_series_of_an_export_is_chosen(tmp_path: Path, capsys: Captured) -> None:
    found = export(tmp_path / "in")
    arguments = ["segment", str(tmp_path / "in"), "--box", "1,1,0,4,3,1", "-o", str(tmp_path / "x.nii.gz")]
    assert main(arguments) == 2
    assert all(uid in capsys.readouterr().err for uid in [*found][:1])
    for (uid, folder), depth in zip(found.items(), (2, 1), strict=True):
        assert main([*arguments, "--series", uid]) == 0
        assert labels(tmp_path / "x.nii.gz").shape == (depth, 4, 5)
        assert main([*arguments[:1], str(folder), *arguments[2:]]) == 0
        assert labels(tmp_path / "x.nii.gz").shape == (depth, 4, 5)
    assert main([*arguments, "--series", "1.2"]) == 2
    assert "series: expected the UID of a series in" in capsys.readouterr().err


def test_every_series_of_an_export_is_an_image(tmp_path: Path) -> None:
    """Boxes and label maps lie in folders of the same names."""
    export(tmp_path / "in")
    (tmp_path / "boxes" / "P1" / "S1").mkdir(parents=True)
    for name in ("series0", "series1"):
        write_box(tmp_path / "boxes" / "P1" / "S1" / f"{name}.json", [1, 1, 0, 4, 3, 1])
    folders = ["--boxes", str(tmp_path / "boxes"), "-o", str(tmp_path / "out")]
    assert main(["segment", str(tmp_path / "in"), *folders]) == 0
    assert names(tmp_path / "out" / "P1" / "S1") == ["series0.nii.gz", "series1.nii.gz"]
    assert labels(tmp_path / "out" / "P1" / "S1" / "series0.nii.gz").shape == (2, 4, 5)


def test_segments_are_named_by_labels(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = series(tmp_path / "series", mr_slices())
    arguments = ["segment", str(folder), "--box", "1,1,0,4,3,2", "-o"]
    assert main([*arguments, str(tmp_path / "x.dcm"), "--labels", "liver"]) == 0
    assert pydicom.dcmread(tmp_path / "x.dcm").SegmentSequence[0].SegmentLabel == "liver"
    monkeypatch.setattr("medsam_edge.cli.segment.make_segmenter", None)  # all that is wrong is known before
    for output, text, message in (
        ("y.nii.gz", "liver", "labels: only a DICOM SEG (.dcm) holds names"),
        ("y.dcm", "liver,spleen", "labels: expected a list with a name for each of 1 objects, got 2"),
    ):
        assert main([*arguments, str(tmp_path / output), "--labels", text]) == 2
        assert message in capsys.readouterr().err
    made = mr_slices()
    for data in made:
        del data.FrameOfReferenceUID
    bare = series(tmp_path / "bare", made)
    assert main(["segment", str(bare), *arguments[2:], str(tmp_path / "y.dcm")]) == 2
    assert "cannot be the source of a DICOM SEG" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("2DBox_CT_0001.npz", Modality.CT),
        ("3DBox_MR_0621.npz", Modality.MR),
        ("2DBox_X-Ray_0053.npz", Modality.XRAY),
        ("2DBox_Microscope_0008.npz", Modality.MICROSCOPY),
        ("2DBox_Fundus.npz", Modality.FUNDUS),
        ("2DBox_Foot_0001.npz", None),
        ("2DBox_CT_0001.png", None),
        ("CT_0001.npz", None),
    ],
)
def test_challenge_names_say_the_modality(name: str, modality: Modality | None) -> None:
    assert name_modality(Path("CT") / name) is modality
    assert name_modality(Path(name), [Modality.US]) is None  # no class of the model: to be recognised


def test_the_modality_told_goes_before_the_name(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "in").mkdir()
    for name in ("2DBox_US_1.npz", "2DBox_Foot_1.npz"):
        np.savez(tmp_path / "in" / name, imgs=NOISE[0], boxes=[BOX])
    for told, expected in (([], [None, "US"]), (["--modality", "pet"], ["PET", "PET"])):
        assert main(["segment", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--json", "--overwrite", *told]) == 0
        assert [line["modality"] for line in lines(capsys)[:2]] == expected


@pytest.mark.parametrize("name", ["2DBox_US.npz", "3DBox_CT.npz"])
def test_compat_is_the_published_script_on_the_files_own_numbers(tmp_path: Path, fake: Segmenter, name: str) -> None:
    """100 pixels on 64: box corners lose their fraction, and z1 of the file is the last slice."""
    image = np.random.default_rng(1).integers(0, 255, (5, 100, 90), dtype=np.uint8)[
        slice(None) if name[0] == "3" else 0
    ]
    boxes = np.array([[11, 15, 1, 52, 67, 3], [20, 30, 0, 81, 95, 2]])
    boxes = boxes if name[0] == "3" else boxes[:, [0, 1, 3, 4]]
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in" / name, imgs=image, boxes=boxes)
    given = tmp_path / "boxes.json"
    given.write_text(json.dumps(boxes.tolist()))
    file, compat = str(tmp_path / "in" / name), ["--compat", "rep-medsam"]
    expected = fake.segment(image, boxes, compat="rep-medsam").label_map
    for arguments in (
        [file, "-o", str(tmp_path / "one.npz")],
        [file, "-o", str(tmp_path / "given.npz"), "--boxes", str(given)],
        [str(tmp_path / "in"), "-o", str(tmp_path / "out")],
    ):
        assert main(["segment", *arguments, *compat]) == 0
    for written in (tmp_path / "one.npz", tmp_path / "given.npz", tmp_path / "out" / name):
        np.testing.assert_array_equal(labels(written), expected)
    assert main(["segment", file, "-o", str(tmp_path / "ours.npz")]) == 0
    ours = labels(tmp_path / "ours.npz")
    assert (ours != expected).any()
    assert (ours.reshape(-1, 100, 90).any(axis=(1, 2)) == expected.reshape(-1, 100, 90).any(axis=(1, 2))).all()


def test_options_reach_the_segmenter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: Segmenter) -> None:
    segment: Callable[..., Any] = fake.segment
    seen: list[dict[str, Any]] = []

    def recorded(image: Any, boxes: Any, modality: Any, **settings: Any) -> Any:
        seen.append(settings | {"boxes": boxes})
        return segment(image, boxes)

    monkeypatch.setattr(fake, "segment", recorded)
    arguments = pictures(tmp_path, "a.png")
    np.savez(tmp_path / "in" / "b.npz", imgs=NOISE[0], boxes=[BOX])
    options = ["--streams", "3", "--stop-when-empty", "--window", "lung", "--axis", "coronal", "--overlap", "score"]
    assert main([*arguments, *options, "--box-space", "physical"]) == 0
    expected = {"streams": 3, "stop_when_empty": True, "window": "lung", "axis": "coronal", "overlap": "score"}
    for settings in seen:
        assert expected | {"box_space": "physical"} == {name: settings[name] for name in (*expected, "box_space")}
    assert [settings["boxes"] is None for settings in seen] == [False, True]  # None: the npz's own, never in mm
    seen.clear()
    assert main([*arguments, "--overwrite", "--window=-600,1500"]) == 0
    assert seen[0]["window"] == (-600, 1500)
    assert seen[0]["box_space"] == "pixel"


@pytest.mark.filterwarnings("default")
def test_a_warning_is_said_of_every_image(tmp_path: Path, capsys: Captured) -> None:
    arguments = pictures(tmp_path, "a.png", "b.png")
    for name in ("a", "b"):
        write_box(tmp_path / "boxes" / f"{name}.json", [8, 16, 24, 90])
    assert main(arguments) == 0
    printed = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in printed] == ["1 of 2", "medsam-edge", "2 of 2", "medsam-edge"]


@pytest.mark.filterwarnings("default:.* is newer than")
def test_a_folder_run_again_with_other_settings_says_so(tmp_path: Path, capsys: Captured) -> None:
    arguments = pictures(tmp_path, "a.png")
    assert main([*arguments, "--modality", "MR"]) == 0
    made = contents(tmp_path / "out")
    assert main([*arguments, "--modality", "MR", "--streams", "0"]) == 0  # which changes no mask
    assert main([*arguments, "--modality", "US", "--detail", "image"]) == 2
    message = capsys.readouterr().err
    assert "1 label maps in" in message
    assert "detail auto (now image), modality MR (now US)" in message
    assert contents(tmp_path / "out") == made
    assert main([*arguments, "--modality", "MR", "--binary"]) == 2
    assert "binary False (now True)" in capsys.readouterr().err
    assert main([*arguments, "--modality", "US", "--overwrite"]) == 0
    assert main([*arguments, "--modality", "US"]) == 0
    capsys.readouterr()
    os.utime(tmp_path / "boxes" / "a.json", (2**33, 2**33))
    assert main([*arguments, "--modality", "US"]) == 0
    assert "a.json is newer than" in capsys.readouterr().err
