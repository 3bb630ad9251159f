from __future__ import annotations

from pathlib import Path

from medsam_edge.cluster.journal import FOLDER, Journal, ended, lost


def test_what_is_begun_is_ended_or_lost(tmp_path: Path) -> None:
    assert ended(tmp_path) == {}
    one, other = Journal(tmp_path, "1"), Journal(tmp_path, "1")
    one.begin("a")
    one.end("a", {"score": 1})
    one.begin("b")
    other.begin("b")
    other.begin("c")
    other.end("c", {"error": "no"})
    assert ended(tmp_path) == ended(tmp_path, "1") == {"a": {"score": 1}, "c": {"error": "no"}}
    assert lost(tmp_path, "1") == {"b": 2}
    assert ended(tmp_path, "2") == lost(tmp_path, "2") == {}


def test_the_last_run_counts_and_half_a_line_does_not(tmp_path: Path) -> None:
    later, first = Journal(tmp_path, "2"), Journal(tmp_path, "1")
    later.end("a", {"run": 2})
    first.end("a", {"run": 1})
    first.end("b", {"run": 1})
    with first.file.open("a") as file:
        file.write('{"ended": "c", "rep')
    (tmp_path / FOLDER / "1-x.jsonl").write_text('[]\n"text"\n{"other": 1}\n\n')
    assert ended(tmp_path) == {"a": {"run": 2}, "b": {"run": 1}}
