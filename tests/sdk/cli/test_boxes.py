from __future__ import annotations

import json
from pathlib import Path

import pytest

from medsam_edge.cli.box_files import read_boxes
from medsam_edge.cli.main import main
from medsam_edge.errors import BoxError


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
@pytest.mark.filterwarnings("default:--boxes")
def test_bad_box_files_are_refused(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    file = tmp_path / "boxes.json"
    file.write_text(text)
    out = tmp_path / "out.png"
    if text == "{}":  # no rows: no boxes, an empty mask
        assert main(["segment", str(image), "--boxes", str(file), "-o", str(out)]) == 0
        assert "holds no boxes" in capsys.readouterr().err
    else:
        assert main(["segment", str(image), "--boxes", str(file), "-o", str(out)]) == 2
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


COCO = {
    "images": [{"id": 1, "file_name": "in/a.png"}, {"id": 2, "file_name": "in\\\\b.png"}],
    "annotations": [
        {"image_id": 2, "category_id": 1, "bbox": [10, 20, 50, 60]},
        {"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2]},
    ],
}
RECTANGLE = {"label": "x", "shape_type": "rectangle", "points": [[60, 20], [10, 80]]}
POLYGON = {"label": "x", "points": [[10, 30], [60, 20], [40, 80]]}
CIRCLE = {"shape_type": "circle", "points": [[35, 50], [35, 25]]}
RING = [[[10, 20], [60, 20], [60, 80], [10, 80], [10, 20]]]
REGION = {"shape_attributes": {"name": "rect", "x": 10, "y": 20, "width": 50, "height": 60}}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("wh.csv", "x,y,width,height\n10,20,50,60\n"),
        ("order.csv", "label,ymax,xmax,ymin,xmin\nliver,80,60,20,10\n"),
        ("index.csv", ",X Min,Y Min,X Max,Y Max\n0,10,20,60,80\n"),
        ("voc.csv", "filename,width,height,class,xmin,ymin,xmax,ymax\nb.png,640,480,x,10,20,60,80\n"),
        ("several.csv", "image,x1,y1,x2,y2\na.png,1,1,3,3\nb.png,10,20,60,80\n"),
        ("semicolon.csv", "cx;cy;w;h\n35;50;50;60\n"),
        ("tabs.csv", "left\ttop\twidth\theight\n10\t20\t50\t60\n"),
        ("skimage.csv", "label,bbox-0,bbox-1,bbox-2,bbox-3\n1,20,10,80,60\n"),
        ("list.json", [{"x": 10, "y": 20, "width": 50, "height": 60, "label": "x"}]),
        ("corners.json", [{"xmin": 10, "ymin": 20, "xmax": 60, "ymax": 80}]),
        ("nested.json", [{"score": 0.9, "box": {"xmin": 10, "ymin": 20, "xmax": 60, "ymax": 80}}]),
        ("results.json", [{"image_id": 7, "category_id": 1, "bbox": [10, 20, 50, 60], "score": 1}]),
        ("modes.json", [{"bbox": [10, 20, 60, 80], "bbox_mode": 0}]),
        ("coco.json", COCO),
        ("labelme.json", {"imagePath": "b.png", "shapes": [RECTANGLE]}),
        ("polygon.json", {"imagePath": "b.png", "shapes": [POLYGON]}),
        ("via.json", {"b.png12": {"filename": "b.png", "regions": [REGION]}}),
        (
            "qupath.json",
            {"type": "FeatureCollection", "features": [{"geometry": {"type": "Polygon", "coordinates": RING}}]},
        ),
        ("ours.json", {"output": "m.png", "objects": [{"label": 1, "box": [10, 20, 60, 80], "score": 0.5}]}),
        ("boxes.json", {"boxes": [[10, 20, 60, 80]], "labels": [1]}),
    ],
)
def test_files_that_say_what_their_numbers_are(tmp_path: Path, name: str, content: object) -> None:
    file = tmp_path / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    assert read_boxes(file, Path("elsewhere/b.png")) == [[10, 20, 60, 80]]


def test_a_circle_gives_the_box_around_it(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"imagePath": "b.png", "shapes": [CIRCLE]}))
    assert read_boxes(tmp_path / "x.json", Path("b.png")) == [[10, 25, 60, 75]]


def test_boxes_of_six_numbers_with_names(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x,y,z,width,height,depth\n1,2,3,10,20,30\n")
    assert read_boxes(tmp_path / "x.csv", Path("b.nii")) == [[1, 2, 3, 11, 22, 33]]
    with pytest.raises(BoxError, match="takes the last slice"):
        read_boxes(tmp_path / "x.csv", Path("b.nii"), last_slice=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "a,b,c,d\n1,2,3,4\n", "expected columns such as x0, y0, x1, y1; .* got a, b, c, d"),
        ("x.csv", "x,y,width,height\n1,2,3\n", "expected 4 cells a row"),
        ("x.csv", "x,y,width,height\n1,2,3,0\n", "row 0: .* width and height above 0"),
        ("x.csv", "image,x1,y1,x2,y2\na.png,1,1,3,3\nc.png,1,1,3,3\n", "boxes of b.png, it has those of 2 images"),
        ("x.json", '[{"bbox": [1, 2, 3, 4]}]', "does not say what its numbers are; expected --box-format"),
        ("x.json", '{"shapes": [{"shape_type": "line", "points": [[1, 2], [3, 4]]}]}', "got line"),
        ("x.json", '{"weights": [1]}', "got an object with weights"),
        ("x.json", '{"annotations": [{"image_id": 3, "bbox": [1, 2, 3, 4]}], "images": []}', "COCO"),
    ],
)
def test_files_that_do_not_say_it_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(BoxError, match=message) as caught:
        read_boxes(tmp_path / name, Path("b.png"))
    assert name in str(caught.value)


def test_the_format_of_an_option(tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.json"
    file.write_text("[[10, 20, 50, 60]]")
    assert read_boxes(file, Path("b.png"), "xywh") == [[10, 20, 60, 80]]
    file.write_text('[{"bbox": [35, 50, 50, 60]}]')
    assert read_boxes(file, Path("b.png"), "cxcywh") == [[10, 20, 60, 80]]
    file.write_text('[{"x": 10, "y": 20, "width": 50, "height": 60}]')
    with pytest.raises(BoxError, match="says that its boxes are xywh, got --box-format xyxy"):
        read_boxes(file, Path("b.png"), "xyxy")
    words = ["segment", str(image), "--box", "10,20,50,60", "--box-format", "xywh", "--boxes", str(file)]
    assert main([*words, "-o", str(tmp_path / "o.png"), "--json"]) == 0
    assert [item["box"] for item in json.loads(capsys.readouterr().out)["objects"]] == [[10, 20, 60, 80]] * 2


def test_an_empty_file_and_one_of_another_image_are_warned_of(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x0,y0,x1,y1\n")
    with pytest.warns(UserWarning, match="holds no boxes"):
        assert read_boxes(tmp_path / "x.csv", Path("b.png")) == []
    (tmp_path / "x.json").write_text(json.dumps({"imagePath": "a.png", "shapes": [RECTANGLE]}))
    with pytest.warns(UserWarning, match="names a.png as its image, not b.png"):
        assert read_boxes(tmp_path / "x.json", Path("b.png")) == [[10, 20, 60, 80]]
