"""Run folders: new, resumed, refused."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from configs.errors import InputError
from configs.run_folder import open_run, write_json, write_text
from configs.schema import LoopSection, RunConfig, RunSection

ROOT = Path(__file__).parents[2]


def test_a_new_folder_holds_the_resolved_configuration(tmp_path):
    folder = open_run(tmp_path / "a" / "b", RunConfig())
    assert "learning_rate = 0.0007" in folder.config_file.read_text()
    assert folder.path.is_absolute()


def test_the_same_run_is_gone_on_with(tmp_path):
    open_run(tmp_path, RunConfig())
    longer = RunConfig(loop=LoopSection(steps=9, time_budget_s=5))
    open_run(tmp_path, longer)
    assert "steps = 9" in (tmp_path / "config.toml").read_text()


def test_another_run_is_refused_and_nothing_changes(tmp_path):
    open_run(tmp_path, RunConfig())
    before = (tmp_path / "config.toml").read_text()
    other = RunConfig(run=RunSection(seed=4), loop=LoopSection(groups_per_step=8))
    with pytest.raises(
        InputError, match=r"(?s)run.seed: 0 -> 4.*groups_per_step: 16 -> 8.*new run"
    ):
        open_run(tmp_path, other)
    assert (tmp_path / "config.toml").read_text() == before


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(InputError, match="holds no run"):
        open_run(tmp_path, RunConfig())


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written .*give another folder"):
        open_run(tmp_path / "file", RunConfig())


def test_a_read_only_place_is_refused(tmp_path, monkeypatch):
    def read_only(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(InputError, match=r"cannot be written \(Read-only file system\)"):
        open_run(tmp_path / "new", RunConfig())


def test_files_appear_by_rename(tmp_path):
    write_text(tmp_path / "a.txt", "one")
    write_json(tmp_path / "a.txt", {"two": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert '"two": 2' in (tmp_path / "a.txt").read_text()


def test_a_folder_that_another_process_has_is_refused_until_that_ends(tmp_path):
    code = (
        "import sys, pathlib; from configs.run_folder import open_run; "
        "from configs.schema import RunConfig; "
        "open_run(pathlib.Path(sys.argv[1]), RunConfig(), alone=True); print('up', flush=True); "
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"up\n"
        with pytest.raises(InputError, match=f"in use by process {other.pid} on "):
            open_run(tmp_path, RunConfig(), alone=True)
        open_run(tmp_path, RunConfig())  # to read it, one need not be alone
        other.kill()
    open_run(tmp_path, RunConfig(), alone=True)
    open_run(tmp_path, RunConfig(), alone=True)
