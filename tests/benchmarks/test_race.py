import json
import os
import signal
import sys
import threading
import time

import pytest

from benchmarks import grpo, race
from benchmarks.peers.work import WORK, Step, account


def rates(*values):
    quiet = {"other_cores": [0.0, 0.1]}
    return race.summarize([{"samples_per_s": value} | quiet for value in values])


def test_contestants_take_turns():
    order = [name for _, name in race.turns(["a", "b"], 3)]
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert [number for number, _ in race.turns(["a", "b"], 2)] == [0, 0, 1, 1]


def test_a_summary_keeps_medians_extremes_and_the_rounds():
    rounds = [
        {"samples_per_s": value, "versions": {"x": "1"}, "part_s": part}
        for value, part in ((3.0, 1.0), (1.0, None), (8.0, 2.0))
    ]
    summary = race.summarize(rounds)
    assert summary["samples_per_s"] == {"median": 3.0, "min": 1.0, "max": 8.0}
    assert summary["rounds"] == rounds
    assert "versions" not in summary and "part_s" not in summary


def test_a_ratio_above_one_means_that_ours_is_better():
    assert race.ratio(rates(30), rates(10, 20, 15), "samples_per_s") == 2.0
    slow, fast = race.summarize([{"step_s": 4.0}]), race.summarize([{"step_s": 1.0}])
    assert race.ratio(fast, slow, "step_s", higher_is_better=False) == 4.0
    assert race.ratio(None, slow, "step_s") is None


def test_the_verdict_has_the_shape_that_readers_expect():
    results = {
        "ours": {"even": rates(20), "ragged": rates(40)},
        "synchronous": {"even": rates(15)},
        "tunix": {"even": rates(10), "ragged": rates(10)},
    }
    result = grpo.verdict(results, {"trl": "no such package"})
    assert {"benchmark", "ours", "peers", "ratios", "environment"} <= result.keys()
    assert set(result["peers"]) == {"tunix", "trl"}
    assert result["disturbed"] == []
    assert result["ratios"] == {
        "samples_per_s_vs_tunix": 2.0,
        "samples_per_s_vs_trl": None,
        "samples_per_s_vs_tunix_ragged": 4.0,
        "samples_per_s_vs_trl_ragged": None,
        "samples_per_s_vs_tunix_synchronous": 1.5,
        "samples_per_s_vs_trl_synchronous": None,
        "samples_per_s_vs_tunix_ragged_synchronous": None,
        "samples_per_s_vs_trl_ragged_synchronous": None,
    }
    assert result["peers"]["trl"] == {"missing": "no such package"}
    assert result["environment"]["cores"] >= 1 and result["environment"]["cpu"]
    json.dumps(result)


def test_the_table_has_a_line_for_each_result_and_says_what_is_missing():
    lines = grpo.table({"tunix": {"even": rates(10)}}, {"trl": "pip failed\nlong story"})
    assert "10.00 (10.00-10.00)" in lines[1]
    assert lines[2].split() == ["trl", "missing:", "pip", "failed"]


def test_turns_beside_other_work_are_named():
    rounds = [
        {"samples_per_s": 1.0, "other_cores": cores} for cores in ([0.0, 0.1], [0.1, 1.0], [2.0, 0])
    ]
    results = {"trl": {"even": race.summarize(rounds)}}
    assert grpo.disturbed_turns(results) == ["trl even 2", "trl even 3"]
    assert grpo.table(results, {})[-1] == "NOT QUIET, don't quote: trl even 2, trl even 3"


def test_warmup_is_left_out_of_an_account():
    slow = Step(wall_s=100.0, lengths=[9])
    steps = [slow, Step(1.0, 0.5, 0.2, 0.3, [4, 6]), Step(3.0, 1.5, 0.2, 0.3, [2, 8])]
    result = account(steps, 1, parameters=7, versions={})
    assert result["samples_per_s"] == 1.0 and result["tokens_per_s"] == 5.0
    assert (result["step_s_min"], result["step_s_median"], result["step_s_max"]) == (1, 2, 3)
    assert result["generate_s"] == 1.0 and result["mean_completion_tokens"] == 5
    with pytest.raises(ValueError, match="leave none"):
        account(steps, 3, parameters=7, versions={})


def test_ragged_work_declares_eleven_stop_ids_and_even_work_none():
    assert WORK.stop_ids("even") == []
    assert WORK.stop_ids("ragged") == [1, *range(502, 512)]


def test_a_failing_child_is_an_error_with_its_last_words(tmp_path):
    command = [sys.executable, "-c", "import sys; sys.exit('out of eggs')"]
    with pytest.raises(race.ContestantFailed, match="out of eggs"):
        race.run_child(command, tmp_path / "log")


def test_the_result_is_the_last_line_printed(tmp_path):
    command = [sys.executable, "-c", "print('chatter'); print('{\"a\": 1}')"]
    assert race.last_json(race.run_child(command, tmp_path / "log")) == {"a": 1}
    with pytest.raises(race.ContestantFailed, match="no result"):
        race.last_json("\n")


def test_sigterm_ends_a_child_and_its_own_children(tmp_path):
    note = tmp_path / "pid"
    script = f"import subprocess; p = subprocess.Popen(['sleep', '60']); \
open({str(note)!r}, 'w').write(str(p.pid)); p.wait()"

    def interrupt():
        while not (note.exists() and note.read_text()):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    with race.terminable(), pytest.raises(KeyboardInterrupt):
        threading.Thread(target=interrupt).start()
        race.run_child([sys.executable, "-c", script], tmp_path / "log")
    assert gone(int(note.read_text()))


def gone(pid):
    """Ended, or waiting for init to collect it."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def test_a_result_file_appears_whole(tmp_path):
    race.write_json(tmp_path / "new" / "result.json", {"a": 1})
    assert json.loads((tmp_path / "new" / "result.json").read_text()) == {"a": 1}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["result.json"]
