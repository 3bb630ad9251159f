from __future__ import annotations

import json
from pathlib import Path

import pytest

from medsam_edge.cli.main import main
from medsam_edge.errors import InputError, MedsamEdgeError
from medsam_edge_benchmarks.chain import ChainResult, Student, chain, run_command
from medsam_edge_train.prepare.prepare import PrepareConfig, prepare
from medsam_edge_train.stages.phantoms import PhantomConfig, write_phantoms


class Pretender:
    """Prepares the data; of each training only writes curves, whose DSC rises or falls."""

    def __init__(self, rises: bool) -> None:
        self.rises = rises
        self.steps: list[str] = []

    def __call__(self, words: list[str]) -> float:
        self.steps.append(words[1] if words[0] == "train" else words[0])
        output = Path(words[words.index("-o") + 1])
        if self.steps[-1] == "prepare":
            prepare(PrepareConfig((Path(words[3]),), output))
        elif self.steps[-1] in ("distill", "fit", "finetune"):
            (output / "log/version_0").mkdir(parents=True)
            (output / "before.json").write_text('{"val_dsc": 0.5, "val_mse": 2.0}')
            after = 0.75 if self.rises else 0.25
            rows = f"epoch,step,train_loss,val_dsc,val_mse\n0,1,3.0,0.4,1.0\n1,2,1.0,{after},0.5\n"
            (output / "log/version_0/metrics.csv").write_text(rows)
        return 2.0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(PhantomConfig(tmp_path_factory.mktemp("chain") / "data", count=1, val_count=1))


@pytest.mark.parametrize("rises", [True, False])
def test_the_steps_and_what_is_asked_of_the_curves(data: Path, tmp_path: Path, rises: bool) -> None:
    pretender = Pretender(rises)
    students = (
        Student("rep_medsam_s", 128, (1, 1, 1), 1e-4, told=True),
        Student("class_prompt_tinyvit", 64, (1, 1, 1), 1e-3, told=False),
    )
    result = chain(data, Path("teacher.safetensors"), tmp_path / "out", students=students, run=pretender)
    own = ["embed", "distill", "fit", "finetune", "convert", "segment"]
    assert pretender.steps == ["prepare", *own, *own]
    assert result.total == 2.0 * len(pretender.steps)
    assert result.changes["rep_medsam_s distill val_mse"] == (2.0, 0.5)
    assert result.changes["class_prompt_tinyvit fit val_dsc"] == (0.5, 0.75 if rises else 0.25)
    wrong = [] if rises else [f"{student.architecture} fit val_dsc" for student in students]
    assert result.wrong == wrong
    assert json.loads((tmp_path / "out/chain.json").read_text(encoding="utf-8"))["wrong"] == wrong
    assert ("wrong way" in str(result)) is not rises
    with pytest.raises(InputError, match=r"output: .* exists already"):
        chain(data, Path("teacher.safetensors"), tmp_path / "out", run=pretender)


@pytest.mark.parametrize("wrong", [[], ["fit val_dsc"]])
def test_the_command_writes_its_figures_whichever_way_it_went(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wrong: list[str]
) -> None:
    monkeypatch.setattr("medsam_edge_benchmarks.chain.chain", lambda *_: ChainResult({"prepare": 1.0}, wrong=wrong))
    words = ["--data", "data", "--teacher", "teacher.safetensors", "-o", "out", "--json", str(tmp_path / "a.json")]
    assert main(["bench", "chain", *words]) == bool(wrong)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["wrong"] == wrong
    assert ("chain: went the wrong way: fit val_dsc" in capsys.readouterr().err) is bool(wrong)


def test_a_step_that_fails_ends_the_chain(tmp_path: Path) -> None:
    with pytest.raises(MedsamEdgeError, match=r"chain: medsam-edge segment \S+nowhere\.png ended with code 2"):
        run_command(["segment", str(tmp_path / "nowhere.png"), "--box", "1,2,3,4", "-o", str(tmp_path / "out.png")])
