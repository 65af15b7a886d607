"""Starting a job again from its last checkpoint, when a process is gone that holds its state.

Rollout and judge actors hold none and are replaced within the job. A process of the learner is
replaced with all of its peers; a queue or the weight store takes the job with it. A new one goes on
as a new start of the run would, without Ray's start.
"""

from collections.abc import Callable
from contextlib import suppress

from cluster.calls import LearnerGone, WorkerGone
from cluster.job import Job
from configs.errors import RunError
from learner.history import read_steps


def run_job(start: Callable[[], Job], command: Callable[[Job], int]) -> int:
    """`command` on a job, and again on what is left of it when it is lost; returns its exit code.

    Raises RunError when it is lost again and again without getting any further.
    """
    lost, reached = 0, -1
    job = start()
    while True:
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
            job.incident("job started again", f"{gone}, after step {step}")
            job = _next(job, start, gone)


def _next(job: Job, start: Callable[[], Job], gone: WorkerGone) -> Job:
    if isinstance(gone, LearnerGone):
        with suppress(WorkerGone):  # of another part: then that is lost, too
            job.replace_learner()
            return job
    job.kill()
    return start()


def _last_step(job: Job) -> int:
    path = job.folder.ledger_file
    steps = read_steps(path) if path.exists() else []
    return steps[-1]["step"] if steps else 0
