from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from medsam_edge import Segmenter
from medsam_edge.cli.main import main
from medsam_edge.errors import InputError
from medsam_edge.modality import Modality
from medsam_edge.networks.model import Arrays, Model
from medsam_edge.phantom import phantom, phantom_volume
from medsam_edge_benchmarks.accuracy import command
from medsam_edge_benchmarks.accuracy.command import AccuracyConfig
from medsam_edge_benchmarks.accuracy.scoring.measure import Row, measure_item
from medsam_edge_convert.torch_model import torch_model
from medsam_edge_train import checkpoint
from medsam_edge_train.models import TEACHER, ZOO
from medsam_edge_train.models.quantize import calibrate
from tests.benchmarks.helpers import write_volume
from tests.sdk.fake import FakeDecoder, FakeEncoder, fake_model
from tests.train.tiny import tiny_rep

COMMAND = ["bench", "accuracy"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four images and a volume."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name, modality in (("US_0", Modality.US), ("US_1", Modality.US), ("Fundus_2", Modality.FUNDUS), ("CT_3", "CT")):
        drawn = phantom(modality, (64, 64), seed=int(name[-1]), objects=2)
        np.savez(folder / f"2DBox_{name}.npz", imgs=drawn.image, gts=drawn.labels)
    write_volume(folder / "CT", "v", phantom_volume("CT", (8, 64, 64)).labels.astype(np.uint8), (1.0, 1.0, 3.0))
    return folder


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_models(monkeypatch, fake_model())


def replace_models(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    monkeypatch.setattr(command, "Segmenter", lambda *_, **__: Segmenter(model))


def test_the_command_writes_every_output(
    data: Path, tmp_path: Path, fake: None, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"--json": "a.json", "--csv": "a.csv", "--html": "a.html", "--worst": "w.png", "--examples": "e.png"}
    outputs = [f"{option}={tmp_path / name}" for option, name in names.items()]
    bundles = ["--bundle", "x/one", "--bundle", "y/two"]
    assert main([*COMMAND, "--data", str(data), *bundles, "--jitter", "0", "8", *outputs]) == 0
    printed = capsys.readouterr()
    report = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert report["complete"]
    methods = ["one", "two", "ellipse", "grabcut"]
    assert sorted(report["methods"]) == sorted([*methods, "one, per slice", "two, per slice"])
    plain = report["modalities"]["plain"]
    assert list(plain) == ["CT", "US", "Fundus", "mean"]
    assert plain["mean"]["images"] == 5
    assert plain["US"]["dsc"]["one"] == plain["US"]["dsc"]["two"]
    assert plain["US"]["dsc"]["one, per slice"]["mean"] is None
    assert set(report["jitters"]) == {"0", "8"}
    assert report["jitters"]["8"]["dsc"]["one"]["mean"] < report["jitters"]["0"]["dsc"]["one"]["mean"]
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (8 * 4 + 6)  # jitters, objects of images by method, and the volume's one
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert len(re.findall("<img", page)) == 4
    assert "http" not in re.sub(r"src='[^']*'", "", page)
    for words in (page, printed.out):
        for expected in (
            "LiteMedSAM",
            "not comparable",
            "87.07",
            "one, per slice",
            "calibration error",
            "its sides stay",
        ):
            assert expected.casefold() in " ".join(words.split()).casefold()
    assert cv2.imread(str(tmp_path / "w.png")).shape == (2 * 258, 5 * 224, 3)  # nine objects
    assert cv2.imread(str(tmp_path / "e.png")).shape == (3 * 224, 5 * 224, 3)
    assert not list(tmp_path.glob(".*"))


def write_squares(folder: Path, places: list[int]) -> None:
    """Pictures of 64 × 64, each with a bright square of 4 × 4 at (place, place)."""
    folder.mkdir()
    for number, place in enumerate(places):
        labels = np.zeros((64, 64), np.uint8)
        labels[place : place + 4, place : place + 4] = 1
        np.savez(folder / f"2DBox_US_{number}.npz", imgs=np.stack([labels * 90 + number] * 3, axis=2), gts=labels)


def test_detail_shows_in_a_mosaic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fake answers with its box in network pixels, 64 across: in a mosaic of 128 a square at an odd place does not
    fit them, in a tile of 64 it does."""
    write_squares(tmp_path / "data", [7, 15, 33, 51])
    replace_models(monkeypatch, fake_model())
    out, page = tmp_path / "a.json", tmp_path / "a.html"
    both = [*COMMAND, "--data", str(tmp_path / "data"), "--no-grabcut", "--detail", "image", "auto"]
    assert main([*both, "--mosaic", "2", "--json", str(out), "--html", str(page)]) == 0
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["methods"] == ["packaged, image", "packaged, auto", "ellipse"]
    assert (report["settings"]["mosaic"], report["settings"]["images"]) == (2, 1)
    group = report["modalities"]["plain"]["US"]
    assert group["objects"] == 4
    assert group["dsc"]["packaged, auto"]["mean"] == 100 > group["dsc"]["packaged, image"]["mean"]
    assert list(report["sizes"]) == ["8–16"]  # 4 pixels of 128 are 8 of 256
    assert list(report["seconds"]["picture"]) == report["methods"][:2]
    for words in (page.read_text(encoding="utf-8"), capsys.readouterr().out):
        assert "Seconds per image" in words
        assert "a mosaic of 2 × 2 images" in words
    assert main([*both, "--json", str(out)]) == 0
    dsc = json.loads(out.read_text(encoding="utf-8"))["modalities"]["plain"]["US"]["dsc"]
    assert dsc["packaged, image"]["mean"] == dsc["packaged, auto"]["mean"] == 100


class Holed(FakeDecoder):
    """The box without its middle pixel."""

    def infer(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        middle = np.floor((inputs["boxes"][:, :2] + inputs["boxes"][:, 2:]) / 2)
        hole = super().infer({**inputs, "boxes": np.concatenate([middle, middle + 1], axis=1)})["logits"]
        outputs = super().infer(inputs)
        return {**outputs, "logits": np.where(hole > 0, np.float32(-1), outputs["logits"])}


def test_clean_fills_holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_squares(tmp_path / "data", [7, 15])
    replace_models(monkeypatch, replace(fake_model(), decoder=Holed(0)))
    out = tmp_path / "a.json"
    options = ["--no-grabcut", "--clean", "none", "largest", "--json", str(out)]
    assert main([*COMMAND, "--data", str(tmp_path / "data"), *options]) == 0
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["settings"]["clean"] == ["none", "largest"]
    dsc = report["modalities"]["plain"]["US"]["dsc"]
    assert dsc["packaged, none"]["mean"] == pytest.approx(100 * 2 * 15 / (15 + 16))  # a pixel of 4 x 4 is missing
    assert dsc["packaged, largest"]["mean"] == 100


def test_volumes_along_all_axes(data: Path, fake: None, tmp_path: Path) -> None:
    """A mask is its prompt, which narrows towards the ends of its axis: three axes narrow in other places than one."""
    out = tmp_path / "a.json"
    assert (
        main([*COMMAND, "--data", str(data / "CT"), "--no-grabcut", "--axis", "axial", "all", "--json", str(out)]) == 0
    )
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["methods"] == ["packaged, axial", "packaged, per slice", "packaged, all", "ellipse"]
    means = {name: own["mean"] for name, own in report["modalities"]["plain"]["CT"]["dsc"].items()}
    assert means["packaged, all"] != means["packaged, axial"]


def test_no_method_finds_what_another_has_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_squares(tmp_path / "data", [7, 15, 33])
    model = fake_model()
    replace_models(monkeypatch, model)
    details = ["--detail", "image", "auto", "crop", "--jitter", "0", "1"]
    assert main([*COMMAND, "--data", str(tmp_path / "data"), "--no-grabcut", *details]) == 0
    assert isinstance(model.encoder, FakeEncoder)
    assert model.encoder.calls == 1 + 3 * 3  # a first run that is not timed, and three images for each of three


def test_a_picture_that_occurs_twice_is_encoded_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_squares(tmp_path / "data", [7])
    shutil.copy(tmp_path / "data/2DBox_US_0.npz", tmp_path / "data/2DBox_US_1.npz")
    model = fake_model()
    replace_models(monkeypatch, model)
    assert main([*COMMAND, "--data", str(tmp_path / "data"), "--no-grabcut", "--jitter", "0", "1"]) == 0
    assert isinstance(model.encoder, FakeEncoder)
    assert model.encoder.calls == 1 + 2  # a first run that is not timed; the jitters find what the picture's first left


def test_volumes_make_no_mosaic(data: Path, fake: None, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "wxyz":
        write_volume(data / "CT", name, np.ones((8, 16, 16), np.uint8), (1.0, 1.0, 3.0))
    assert main([*COMMAND, "--data", str(data), "--mosaic", "2"]) == 2
    assert "--mosaic: expected pictures" in capsys.readouterr().err


def test_a_quick_look_says_so(data: Path, tmp_path: Path, fake: None, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.json"
    assert main([*COMMAND, "--data", str(data), "--images", "1", "--no-grabcut", "--json", str(out)]) == 0
    assert "A quick look" in capsys.readouterr().out
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["settings"]["images"] == 3
    assert "grabcut" not in report["methods"]


def test_an_interrupted_run_keeps_whole_images(
    data: Path, tmp_path: Path, fake: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    once = iter([measure_item])

    def interrupted(*arguments: Any) -> list[Row]:
        for own in once:
            return own(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "measure_item", interrupted)
    sheet, out = tmp_path / "a.csv", tmp_path / "a.json"
    assert main([*COMMAND, "--data", str(data), "--no-grabcut", "--csv", str(sheet), "--json", str(out)]) == 130
    assert "Interrupted" in capsys.readouterr().out
    assert json.loads(out.read_text(encoding="utf-8"))["complete"] is False
    assert len(sheet.read_text(encoding="utf-8").splitlines()) == 1 + 2 * 2


def test_the_modality_may_be_withheld_where_there_are_class_prompts(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.json"
    told = [*COMMAND, "--data", str(data), "--no-grabcut", "--json", str(out), "--modality", "withheld"]
    replace_models(monkeypatch, fake_model())
    assert main(told) == 2
    assert "--modality withheld: needs networks with class prompts, packaged has none" in capsys.readouterr().err
    replace_models(monkeypatch, fake_model(classes=tuple(Modality)))
    assert main(told) == 0
    assert "Modality recognised" in capsys.readouterr().out
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["settings"]["modality"] == "withheld"
    assert set(report["recognized"]) == {"CT", "US", "Fundus"}


def test_the_packaged_model_is_the_default(tmp_path: Path) -> None:
    labels = np.zeros((96, 96), np.uint8)
    labels[20:60, 20:60] = 1
    for kind, picture in (("images", labels * 200 + 20), ("masks", labels)):
        (tmp_path / "US" / "squares" / kind).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "US" / "squares" / kind / "a.png"), picture)
    out = tmp_path / "a.json"
    assert main([*COMMAND, "--data", str(tmp_path), "--json", str(out)]) == 0
    dsc = json.loads(out.read_text(encoding="utf-8"))["modalities"]["plain"]["mean"]["dsc"]
    assert list(dsc) == ["packaged", "ellipse", "grabcut"]
    quarter = np.pi / 4  # of its box an ellipse fills; the network rounds corners too, but not as much
    assert dsc["ellipse"]["mean"] == pytest.approx(100 * 2 * quarter / (1 + quarter), abs=1)
    assert dsc["ellipse"]["mean"] < dsc["packaged"]["mean"] < 100
    assert dsc["grabcut"]["mean"] == 100


def test_a_checkpoint_trained_for_int8_is_measured_in_f32(
    tmp_path: Path, fake: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ZOO, "tiny_rep", tiny_rep)
    image = torch.rand(1, 3, 256, 256)
    checkpoint.write(tmp_path / "qat.safetensors", calibrate(tiny_rep(), list(image)), "tiny_rep")
    network, name = checkpoint.load(tmp_path / "qat.safetensors")
    network.quantizers = None
    expected = torch_model(network, 256, name).encoder.infer({"image": image.numpy()})
    settings = AccuracyConfig(data=tmp_path, checkpoint=tmp_path / "qat.safetensors")
    measured = command._models(settings)["torch"].encoder.infer({"image": image.numpy()})
    assert np.array_equal(measured["embedding"], expected["embedding"])


def test_the_teacher_is_refused(fake: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "load", lambda path: (tiny_rep(), TEACHER))
    settings = AccuracyConfig(data=Path("data"), checkpoint=Path("medsam_vit_b.pth"))
    with pytest.raises(InputError, match="--checkpoint: medsam_vit_b sees larger images"):
        command._models(settings)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--images", "0"], "--images"),
        (["--jitter", "-1"], "--jitter"),
        (["--jitter", "5", "5"], "--jitter"),
        (["--jitter"], "--jitter"),
        (["--jitter", "nan"], "--jitter"),
        (["--mosaic", "0"], "--mosaic"),
        (["--mosaic", "9"], "--mosaic 9: expected 81 images"),
        (["--detail", "auto", "auto"], "--detail"),
        (["--clean", "box", "box"], "--clean"),
        (["--axis", "all", "all"], "--axis"),
        (["--worst", "a.txt"], "output"),
        (["--pareto", "a.BMP"], "--pareto: expected png, jpg or tif"),
        (["--data", "none"], "data"),
        (["--bundle", "x/ellipse"], "--bundle: expected another folder name than ellipse"),
    ],
)
def test_bad_options_are_refused(
    data: Path, fake: None, options: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*COMMAND, "--data", str(data), *options]) == 2
    assert expected in capsys.readouterr().err


def test_images_without_objects_are_no_result(tmp_path: Path, fake: None, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "US_a.npz", imgs=np.zeros((64, 64, 3), np.uint8), gts=np.zeros((64, 64), np.uint8))
    assert main([*COMMAND, "--data", str(tmp_path)]) == 2
    assert "expected labelled objects" in capsys.readouterr().err
