"""One JSON object a line, from every process of a run."""

import json
import logging
import socket

import pytest

from cluster import logs
from cluster.logs import logged, start_log


@pytest.fixture(autouse=True)
def before():
    yield
    for handler in logs._handlers:
        logging.getLogger().removeHandler(handler)
        handler.close()
    logs._handlers.clear()
    for name in logs._OURS:
        logging.getLogger(name).setLevel(logging.NOTSET)


def lines(folder, name):
    path = folder / "logs" / f"{name}-{socket.gethostname()}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


class Samples:
    version = None

    def __init__(self, number, more):
        assert (number, more) == (3, "more")

    def run(self):
        self.version = 7
        logging.getLogger("actors.rollout").info("policy loaded", extra={"megabytes": 5})
        logging.getLogger("jax").info("chatter")
        raise ValueError("no luck")


def test_a_line_says_run_step_host_and_actor(tmp_path, capsys):
    logging.getLogger().addHandler(logging.StreamHandler())  # as libraries do
    actor = logged(Samples, "rollout", tmp_path)(3, "more")
    with pytest.raises(ValueError, match="no luck"):
        actor.run()
    started, loaded, ended = lines(tmp_path, "rollout-3")
    known = {"run": tmp_path.name, "role": "rollout", "actor": 3, "host": socket.gethostname()}
    assert known.items() <= started.items() and started["step"] is None
    told = {"message": "policy loaded", "level": "INFO", "logger": "actors.rollout", "step": 7}
    assert (known | told | {"megabytes": 5}).items() <= loaded.items()
    assert ended["message"] == "ended by an error" and "no luck" in ended["exc_info"]
    assert "policy loaded" not in (said := capsys.readouterr().err)
    assert "ended by an error" in said, "warnings go to the terminal, too"


def test_a_new_log_takes_the_place_of_the_one_before_and_files_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "_BYTES", 2000)
    for _ in range(2):
        start_log(tmp_path, "driver", 0, lambda: 4)
    for _ in range(40):
        logging.getLogger("cluster.run").info("step done")
    files = list((tmp_path / "logs").iterdir())
    assert len(files) == 2 and all(path.stat().st_size <= 2000 for path in files)
    assert {line["step"] for line in lines(tmp_path, "driver-0")} == {4}
    assert len(logging.getLogger().handlers) >= 2
    assert sum(handler in logging.getLogger().handlers for handler in logs._handlers) == 2


def test_a_host_that_does_not_see_the_run_folder_makes_none(tmp_path, capsys):
    start_log(tmp_path / "elsewhere", "judge", 1, lambda: None)
    logging.getLogger("actors.judge").warning("told here alone")
    assert not (tmp_path / "elsewhere").exists()
    said = json.loads(capsys.readouterr().err)
    assert said["message"] == "told here alone" and said["actor"] == 1
