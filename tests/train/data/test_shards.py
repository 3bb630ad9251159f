from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from medsam_edge.errors import FileMissingError, ImageError, InputError
from medsam_edge_train.data.shards import Blob, make_key, shard_index, write_shard
from tests.train.data.images import shard_sample


@pytest.mark.parametrize(
    ("parts", "key"),
    [
        (("CT", "liver", "case_1-a~"), "CT/liver/case_1-a~"),
        (("a.b",), "a%2Eb"),
        (("..", "x"), "%2E%2E/x"),
        (("a/b",), "a%2Fb"),
        (("a b%",), "a%20b%25"),
        (("ä",), "%C3%A4"),
        (("\udcff",), "%FF"),  # a file name that is no UTF-8
    ],
)
def test_keys_are_safe_names(parts: tuple[str, ...], key: str) -> None:
    assert make_key(*parts) == key


@pytest.mark.parametrize("parts", [(), ("",), ("a", "")])
def test_keys_of_no_or_empty_names_are_refused(parts: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="key"):
        make_key(*parts)


def test_what_is_written_is_found(tmp_path: Path) -> None:
    samples = [("CT/a/1", {"json": b"{}", "image.png": b"x" * 700}), ("CT/a/2", {"json": b""})]
    path = tmp_path / "x" / "CT-00000.tar"
    assert write_shard(path, samples) == path.stat().st_size
    with tarfile.open(path) as tar:
        assert tar.getnames() == ["CT/a/1.json", "CT/a/1.image.png", "CT/a/2.json"]
    index = shard_index(path.parent)
    assert list(index) == ["CT/a/1", "CT/a/2"]
    assert {name: blob.read() for name, blob in index["CT/a/1"].items()} == samples[0][1]
    assert index["CT/a/1"]["json"] == Blob(path, 512, 2)  # one header before it
    assert index["CT/a/2"]["json"].read() == b""


def test_equal_samples_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        write_shard(tmp_path / name, [("CT/a/1", shard_sample())])
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_folders_and_tars_without_samples_give_an_empty_index(tmp_path: Path) -> None:
    assert shard_index(tmp_path) == {}
    write_shard(tmp_path / "a.tar", [])
    assert shard_index(tmp_path) == {}
    with pytest.raises(FileMissingError, match="expected a folder"):
        shard_index(tmp_path / "nowhere")


@pytest.mark.parametrize("key", ["../x", "/x", "a/../x", "a.b", "", "a//b", "a\\b"])
def test_keys_that_leave_the_folder_are_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(InputError, match="key"):
        write_shard(tmp_path / "a.tar", [(key, {"json": b""})])
    assert list(tmp_path.iterdir()) == []


def test_a_shard_appears_when_it_is_whole(tmp_path: Path) -> None:
    def broken() -> Iterator[tuple[str, Mapping[str, bytes]]]:
        yield "a", {"json": b"x" * 20000}
        assert [path.name for path in tmp_path.glob("[!.]*")] == []
        assert shard_index(tmp_path) == {}
        raise RuntimeError("out of disk")

    with pytest.raises(RuntimeError):
        write_shard(tmp_path / "a.tar", broken())
    assert list(tmp_path.iterdir()) == []


def test_a_cut_tar_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_shard(
        path, [("a", {"json": b"x" * 600}), ("b", {"json": b"y" * 5})]
    )  # 512 + 1024 + 512 + 512 bytes and the end
    whole = path.read_bytes()
    for size in (0, 1, 300, 512, 700, 1536, 1700, 2048, 2050, 2560, 2600, 3583):
        path.write_bytes(whole[:size])
        with pytest.raises(ImageError, match=r"a\.tar"):
            shard_index(tmp_path)
    path.write_bytes(whole[:3584])
    assert list(shard_index(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize("at", [0, 100, 148, 1536, 1536 + 148])
def test_a_damaged_header_is_refused(tmp_path: Path, at: int) -> None:
    path = tmp_path / "a.tar"
    write_shard(path, [("a", {"json": b"x" * 600}), ("b", {"json": b"y" * 5})])
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.tar"):
        shard_index(tmp_path)


def test_a_compressed_tar_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.json"))
    with pytest.raises(ImageError, match=r"a\.tar"):
        shard_index(tmp_path)


def test_links_and_folders_in_a_tar_are_no_data(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE):
            member = tarfile.TarInfo("a.json")
            member.type, member.linkname = kind, "/etc/hostname"
            tar.addfile(member)
    assert shard_index(tmp_path) == {}


def test_one_key_in_two_shards_is_refused(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        write_shard(tmp_path / name, [("CT/a/1", {"json": b""})])
    with pytest.raises(ImageError, match=r"CT/a/1\.json is in .*a\.tar and in .*b\.tar"):
        shard_index(tmp_path)


def test_a_missing_or_short_blob_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"012345")
    assert Blob(path).read() == b"012345"
    assert Blob(path, 2).read() == b"2345"
    assert Blob(path, 2, 3).read() == b"234"
    with pytest.raises(ImageError, match=r"cannot read .*file at byte 4: expected 3 bytes, found 2"):
        Blob(path, 4, 3).read()
    with pytest.raises(ImageError, match=r"cannot read .*nowhere"):
        Blob(tmp_path / "nowhere").read()
