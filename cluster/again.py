"""Starting a job again from its last checkpoint, when a process is gone that holds its state.

Rollout and judge actors hold none and are replaced within the job. A process of the learner, a
queue or the weight store take the job with them; a new one goes on as a new start of the run would,
without Ray's start.
"""

from collections.abc import Callable

from cluster.calls import WorkerGone
from cluster.job import Job
from configs.errors import RunError
from learner.history import read_steps


def run_job(start: Callable[[], Job], command: Callable[[Job], int]) -> int:
    """`command` on a job, and on the next one when it is lost; returns its exit code.

    Raises RunError when jobs are lost again and again without getting any further.
    """
    lost, reached = 0, -1
    while True:
        job = start()
        try:
            with job:
                return command(job)
        except TimeoutError as error:
            raise RunError("\n  ".join([str(error), *job.doing()])) from error
        except WorkerGone as gone:
            step = _last_step(job)
            lost, reached = (lost + 1, reached) if step <= reached else (1, step)
            if lost > job.config.loop.max_losses:
                raise RunError(
                    f"{gone}; that is the {lost}th time (loop.max_losses) without a step in "
                    f"between. What was saved is kept: the same command with --run "
                    f"{job.folder.path} goes on from there"
                ) from gone
            job.incident("job started again", str(gone))


def _last_step(job: Job) -> int:
    path = job.folder.ledger_file
    steps = read_steps(path) if path.exists() else []
    return steps[-1]["step"] if steps else 0
