"""Tables and folders become rows, or one error that says what is wrong with them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from medsam_edge.cluster.rows import Row, rows_of
from medsam_edge.cluster.run import new_parser
from medsam_edge.errors import FileMissingError, InputError
from tests.sdk.cluster.files import write_images

pa = pytest.importorskip("pyarrow", reason="of the extra `ray`")


def options(source: Any, *more: str) -> argparse.Namespace:
    parsed = new_parser("test").parse_args(["TABLE", "-o", "/out", *more])
    parsed.image = source
    return parsed


def test_a_csv_table(tmp_path: Path) -> None:
    text = 'image,modality,boxes\na.jpg,CT,b/a.json\n/data/c.nii.gz,,"[[1, 2, 3, 4]]"\ns3://x/d.npz,,\n'
    (tmp_path / "t.csv").write_text(text)
    assert rows_of(options(tmp_path / "t.csv", "--overlay", "/drawn")) == [
        Row(f"{tmp_path}/a.jpg", "/out/a.png", "/drawn/a.png", f"{tmp_path}/b/a.json", "CT"),
        Row("/data/c.nii.gz", "/out/c.nii.gz", "/drawn/c.png", "[[1, 2, 3, 4]]"),
        Row("s3://x/d.npz", "/out/d.npz", "/drawn/d.png"),
    ]


def test_a_parquet_table_and_one_in_memory(tmp_path: Path) -> None:
    from pyarrow import parquet

    table = pa.table(
        {"image": ["/a/1.png", "/b/1.png"], "boxes": [[[1, 2, 3, 4.5]], None], "output": ["a/1.png", "1.dcm"]}
    )
    parquet.write_table(table, tmp_path / "t.parquet")
    expected = [Row("/a/1.png", "/out/a/1.png", None, "[[1.0, 2.0, 3.0, 4.5]]"), Row("/b/1.png", "/out/1.dcm")]
    assert rows_of(options(tmp_path / "t.parquet")) == rows_of(options(table)) == expected


def test_a_folder(tmp_path: Path) -> None:
    write_images(tmp_path, 3)
    rows = rows_of(options(tmp_path / "in", "--boxes", str(tmp_path / "boxes")))
    assert rows == [Row(f"{tmp_path}/in/{name}.png", f"/out/{name}.png") for name in ("000", "001", "002")]


@pytest.mark.parametrize(
    ("table", "more", "message"),
    [
        ({"picture": ["a.png"]}, [], "table: expected rows with a column image"),
        ({"image": []}, [], "table: expected rows with a column image"),
        ({"image": ["a.png", None]}, [], "table: expected text as image, row 1 has None"),
        ({"image": ["a.png", ""]}, [], "table: expected text as image, row 1 has ''"),
        ({"image": [1]}, [], "table: expected text as image, row 0 has 1"),
        ({"image": ["a.png"], "output": ["../a.png"]}, [], "table: expected an output below /out, row 0 has ../a.png"),
        ({"image": ["a.png"], "output": ["/etc/a.png"]}, [], "table: expected an output below /out"),
        ({"image": ["x/a.png", "y/a.jpg"]}, [], "output: a.png and a.jpg would both be written to /out/a.png"),
        ({"image": ["a.png"]}, ["--boxes", "b"], "--boxes, --box, --point, --prior: expected none"),
        ({"image": ["a.png"]}, ["--part", "1/2"], "--part: expected none"),
    ],
)
def test_what_no_table_can_have(table: dict[str, list[Any]], more: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        rows_of(options(pa.table(table), *more))
    assert message in str(caught.value)


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match="no such file or folder"):
        rows_of(options(tmp_path / "none.csv"))
    for name, content, message in (
        ("t.txt", "image\n", r"expected a folder or one of \.parquet \.csv"),
        ("t.parquet", "image\n", "cannot read"),
        ("t.csv", "image,boxes\na\n", "cannot read"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=message):
            rows_of(options(tmp_path / name))


def test_rows_can_be_sent(tmp_path: Path) -> None:
    row = Row("a", "b", None, "[]", "CT")
    assert Row(**json.loads(json.dumps(vars(row)))) == row
