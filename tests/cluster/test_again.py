"""A job that is lost is started again, as long as it gets anywhere."""

from cluster.again import run_job
from cluster.calls import LearnerGone, WorkerGone
from configs.errors import InputError, RunError
from configs.run_folder import RunFolder
from learner.history import History, note_incident, read_incidents
from learner.ledger import Ledger
from tests.learner.conftest import make_config
from tests.learner.test_history import report

CONFIG = make_config(loop={"max_losses": 2})


class FakeJob:
    """Records how it ended, and its incidents where the real one does."""

    def __init__(self, path, ends):
        self.config, self.folder, self.ends = CONFIG, RunFolder(path), ends

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.ends.append(kind)

    def replace_learner(self):
        self.ends.append("learner replaced")

    def kill(self):
        self.ends.append("killed")

    def incident(self, outcome, what):
        note_incident(self.folder.ledger_file, outcome, what)

    def doing(self):
        return ["rollout actor 0: run (rollout.py:46)"]


def outcomes(path, *results):
    """`run_job` with a command that ends as told, time after time: its result, and the jobs'."""
    ends, left = [], list(results)

    def command(job):
        result = left.pop(0)
        if isinstance(result, Exception):
            raise result
        return result() if callable(result) else result

    try:
        return run_job(lambda: FakeJob(path, ends), command), ends
    except (RunError, InputError) as error:
        return error, ends


def test_a_lost_job_is_started_again_and_written_down(tmp_path):
    code, ends = outcomes(tmp_path, WorkerGone("learner process 0 died"), 0)
    assert (code, ends) == (0, [WorkerGone, "killed", None])
    (incident,) = read_incidents(tmp_path / "ledger.sqlite")
    assert incident["outcome"] == "job started again"
    assert incident["what"] == "learner process 0 died, after step 0"


def test_a_lost_learner_is_replaced_and_the_rest_of_the_job_stays(tmp_path):
    code, ends = outcomes(tmp_path, LearnerGone("learner process 1 died"), 0)
    assert (code, ends) == (0, [LearnerGone, "learner replaced", None])


def test_it_gives_up_when_nothing_is_done_in_between(tmp_path):
    error, ends = outcomes(tmp_path, *[WorkerGone("the queue of permits died")] * 9)
    assert isinstance(error, RunError) and ends.count(WorkerGone) == 3
    assert "the queue of permits died" in str(error) and "3th time" in str(error)


def test_steps_in_between_count_anew(tmp_path):
    steps = iter(range(1, 9))

    def a_step_then_lost():
        history = History(tmp_path / "ledger.sqlite", Ledger(step=8, consumed=0), "here")
        history.done(report(next(steps)))
        history.close()
        raise WorkerGone("learner process 0 died")

    assert outcomes(tmp_path, *[a_step_then_lost] * 6, 0)[0] == 0


def test_silence_says_where_everyone_is_and_bad_input_stays_what_it_is(tmp_path):
    error, _ = outcomes(tmp_path, TimeoutError("no scored group for 600 s"))
    assert "no scored group" in str(error) and "rollout.py:46" in str(error)
    error, ends = outcomes(tmp_path, InputError("no space"), 0)
    assert isinstance(error, InputError) and len(ends) == 1
