"""What a run leaves behind, and that a resumed run leaves it once."""

import numpy as np
import pyarrow.parquet as pq
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from configs.run_folder import open_run
from learner.recorder import Recorder, trace_markdown
from tests.learner.conftest import make_config, make_group

CONFIG = make_config()
GROUPS = [make_group(0, [0.0, 1.0, 0.5, 0.2]), make_group(1, [0.1] * 4, abstained=(2,))]


def record(folder, steps, resumed=0):
    recorder = Recorder(folder, CONFIG, resumed, ("correctness", "repetition"))
    for step in steps:
        recorder.step(step, {"reward/mean": step / 10}, {})
        recorder.groups(step, GROUPS, np.arange(8.0).reshape(2, 4), np.array([True, False]))
    recorder.close()


def test_every_completion_is_a_row(tmp_path):
    folder = open_run(tmp_path, CONFIG)
    record(folder, [1, 2])
    rows = pq.read_table(folder.rollouts / "000001-000002.parquet").to_pylist()
    assert len(rows) == 16
    second = rows[5]
    assert (second["step"], second["index"], second["sibling"]) == (1, 1, 1)
    assert second["tokens"] == GROUPS[1].rollout.tokens[1].tolist()
    assert (second["advantage"], second["trained"]) == (5.0, False)
    assert rows[6]["abstained"] == "judge was down" and rows[6]["part_repetition"] is None
    assert rows[6]["reward"] is None  # and no zero
    np.testing.assert_allclose(second["logprobs"], GROUPS[1].rollout.logprobs[1])


def test_a_resumed_run_has_each_step_once(tmp_path):
    folder = open_run(tmp_path, CONFIG)
    record(folder, [1, 2])
    record(folder, [3, 4], resumed=2)
    record(folder, [3, 4, 5], resumed=2)  # 3 and 4 were not checkpointed: they are done again
    files = sorted(path.name for path in folder.rollouts.iterdir())
    assert files == ["000001-000002.parquet", "000003-000005.parquet"]
    events = EventAccumulator(str(folder.tensorboard)).Reload()
    assert [event.step for event in events.Scalars("reward/mean")] == [1, 2, 3, 4, 5]


def test_what_was_flushed_is_on_disk(tmp_path):
    """A process that is killed behind a checkpoint has no time to write anything more."""
    folder = open_run(tmp_path, CONFIG)
    recorder = Recorder(folder, CONFIG, 0, ())
    names = {f"a/{n}": n / 8 for n in range(200)}
    for step in range(1, 31):
        recorder.step(step, names, {"trace": "**text**"})
        recorder.flush()
        events = EventAccumulator(str(folder.tensorboard)).Reload()
        assert events.Scalars("a/199")[-1].step == step
    assert events.Scalars("a/3")[-1].value == 3 / 8
    assert events.Tensors("trace/text_summary")[-1].tensor_proto.string_val == [b"**text**"]


def test_a_trace_can_be_read():
    text = trace_markdown(GROUPS[1], 2)
    assert "What is 1 + 2?" in text and "judge was down" in text
