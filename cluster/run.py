"""The jobs that `launch.py` runs on a started cluster: train, the cold start alone, evaluate."""

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from actors.data.feed import demonstration_batches
from actors.eval_report import write_report
from cluster.job import Job
from cluster.messages import BASE, ScoredGroup
from cluster.stopper import Stopper
from configs.run_folder import write_json
from learner.cold_start import cold_start
from learner.history import History
from learner.ledger import Ledger
from learner.loop import Parts, StepReport, Stop, train
from learner.metrics import bottleneck, scalars
from learner.order import order_of
from learner.progress import Progress
from learner.recorder import Recorder, trace_markdown
from learner.summary import (
    evaluation_table,
    git_commit,
    ledger_figures,
    package_versions,
    spread_out,
    trace_lines,
)

logger = logging.getLogger(__name__)

_TRACES_EVERY = 50  # steps between sample traces in TensorBoard


class Clock:
    """Wall seconds of each part of a run."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str):
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - started
            self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 3)


def train_run(job: Job, stopper: Stopper) -> int:
    """Cold start where the run needs one, GRPO, evaluation before and after, `summary.json`.

    Returns the exit code: 0, or 75 when a signal or a preemption notice ended it early. A run that
    its time budget ends is done, since that is how long it was to be: it is evaluated.
    """
    clock = Clock()
    with clock.part("start"):
        begun = _begin(job, stopper)
    try:
        if begun["phase"] == "sft":
            with clock.part("cold_start"):
                _cold_start(job, begun["step"], stopper)
        _publish_base(job)
        ledger = Ledger(**begun["ledger"]) if begun["phase"] == "grpo" else Ledger()
        with clock.part("evaluate_before"):
            before = _evaluation_before(job, ledger)
    except Stop as stop:
        return _stopped(job, stopper, str(stop))
    with clock.part("grpo"):
        ledger, reason = _grpo(job, ledger, begun["learner"], stopper.check)
    if stopper.early:
        return _stopped(job, stopper, reason)
    stopper.release()
    print(f"training ended at step {ledger.step}: {reason}")
    after, greedy = {}, []
    if job.config.eval.rows:
        with clock.part("evaluate_after"):
            after, greedy = _evaluate(job, "after", ledger.step)
        write_json(_evaluation_file(job, ledger.step), after)
    summary = _summary(job, ledger, before, after, clock, begun["parameters"])
    write_json(job.folder.summary_file, summary)
    if "reward_first" in summary:  # not of a run whose budget ended before its first step
        print(f"reward {summary['reward_first']:.2f} -> {summary['reward_last']:.2f}")
    print("\n".join(evaluation_table(before, after) + _three_traces(greedy)))
    print(f"summary     {job.folder.summary_file}")
    return 0


def sft_run(job: Job, stopper: Stopper) -> int:
    """The cold start alone; the folder then serves as `model.weights` of other runs."""
    begun = _begin(job, stopper)
    if begun["phase"] == "sft":
        try:
            _cold_start(job, begun["step"], stopper)
        except Stop as stop:
            return _stopped(job, stopper, str(stop))
    print(f"cold start done; use it with model.weights={job.folder.path}")
    return 0


def eval_run(job: Job, stopper: Stopper) -> int:
    """Evaluate the newest checkpoint; writes `eval-<step>.json` into the run folder."""
    begun = _begin(job, stopper)
    stopper.release()
    _publish_base(job)
    step = begun["step"] if begun["phase"] == "grpo" else 0
    results, greedy = _evaluate(job, "eval", step)
    place = _evaluation_file(job, step)
    write_json(place, results)
    write_report(place.with_suffix(""), f"{job.config.data.heldout}, step {step}", results, greedy)
    print("\n".join(evaluation_table(None, results) + _three_traces(greedy)))
    print(f"report      {place.with_suffix('.md')}")
    return 0


def _begin(job: Job, stopper: Stopper) -> dict[str, Any]:
    begun = job.learner.create_state()
    stopper.deferring = True
    job.step = begun["step"] if begun["phase"] == "grpo" else 0
    for damage in begun["damaged"]:
        job.incident("set aside", damage)
    where = "a fresh policy" if not begun["step"] else f"{begun['phase']} step {begun['step']}"
    adapter = f", {begun['trained']:,} of an adapter," if job.config.lora.rank else ""
    print(
        f"policy      {begun['parameters']:,} parameters{adapter} on {begun['devices']} "
        f"{begun['platform']} device(s), from {where}",
        flush=True,
    )
    return begun


def _publish_base(job: Job) -> None:
    """What the rollout actors put adapters over; before the first of them."""
    if job.config.lora.rank:
        job.weights.publish(BASE, job.learner.export(BASE))


def _cold_start(job: Job, done: int, stopper: Stopper) -> None:
    config, corpus = job.config, job.corpus
    batches = demonstration_batches(corpus.train, corpus.tokenizer, config, done)
    with Progress("cold start", config.sft.steps, done) as progress:
        cold_start(
            config,
            job.learner,
            batches,
            done,
            stopper.check,
            lambda steps, loss: progress.update(steps, loss=loss),
        )


def _grpo(job: Job, ledger: Ledger, learner: str, check: Callable[[], None]) -> tuple[Ledger, str]:
    config, folder = job.config, job.folder
    with (
        closing(Recorder(folder, config, ledger.step, job.corpus.judging.rubric.parts)) as recorder,
        closing(History(folder.ledger_file, ledger, learner)) as history,
        Progress("grpo", config.loop.steps, ledger.step) as progress,
    ):

        def report(done: StepReport) -> None:
            _record(job, recorder, done)
            progress.update(done.step, **_progress_fields(job, done))

        def flush() -> Path | None:
            history.check()  # the files of a later learner have the same names
            return recorder.flush()

        parts = Parts(
            learner=job.learner,
            weights=job.weights,
            collector=job.collector,
            order=order_of(config),
            history=history,
            permits=job.feed(ledger.first_open).permits,
            ask=job.permits.put,
            check=check,
            report=report,
            flush=flush,
        )
        return train(config, parts, ledger)


def _record(job: Job, recorder: Recorder, done: StepReport) -> None:
    chosen = done.chosen
    values = scalars(done, job.config, time.time()) | job.queue_scalars()
    values |= job.judge_scalars(done.step)
    job.step = done.step
    job.meters.step(done, values)
    logger.info("step done", extra={"reward": done.chosen.mean_reward, **done.seconds})
    texts = {}
    if done.step == 1 or done.step % _TRACES_EVERY == 0:
        texts = {"traces/first_of_step": trace_markdown(chosen.groups[0], 0)}
    recorder.step(done.step, values, texts)
    recorder.groups(done.step, chosen.groups, chosen.advantages, chosen.trained)


def _progress_fields(job: Job, done: StepReport) -> dict[str, Any]:
    groups = done.chosen.groups
    tokens = sum(len(row) for group in groups for row in group.rollout.tokens)
    waiting = int(job.queue_scalars().get("queue/depth_rollouts", 0))
    return {
        "reward": done.chosen.mean_reward,
        "tokens_per_s": tokens / sum(done.seconds.values()),
        "bottleneck": bottleneck(done.seconds, waiting),
    }


def _evaluate(job: Job, label: str, version: int) -> tuple[dict, list[ScoredGroup]]:
    job.weights.publish(version, job.learner.export(version))
    return job.evaluation().run(label, version, job.collector)


def _evaluation_before(job: Job, ledger: Ledger) -> dict | None:
    """That of the untrained policy: made once, kept in the run folder for a resumed run."""
    kept = _evaluation_file(job, 0)
    if kept.exists():
        return json.loads(kept.read_text())
    if ledger.step or not job.config.eval.rows:
        return None
    results, _ = _evaluate(job, "before", 0)
    write_json(kept, results)
    return results


def _evaluation_file(job: Job, step: int) -> Path:
    return job.folder.path / f"eval-{step:06d}.json"


def _stopped(job: Job, stopper: Stopper, reason: str) -> int:
    print(f"{reason}; saved. Go on with: python launch.py --run {job.folder.path}", flush=True)
    return os.EX_TEMPFAIL


def _summary(
    job: Job, ledger: Ledger, before: dict | None, after: dict, clock: Clock, parameters: int
) -> dict[str, Any]:
    return {
        **ledger_figures(job.folder.ledger_file),
        "steps": ledger.step,
        "ledger": ledger.to_dict(),
        "eval_before": before,
        "eval_after": after,
        "seconds": clock.seconds,
        "seed": job.config.run.seed,
        "hosts": len(job.connection.nodes),
        "placement": job.placed(),
        "parameters": parameters,
        "parameters_sha256": job.learner.parameters_sha256(),
        "packages": package_versions(),
        "git_commit": git_commit(),
    }


def _three_traces(groups: Sequence[ScoredGroup]) -> list[str]:
    lines = ["three traces:"] if groups else []
    for place in spread_out(3, len(groups)):
        group = groups[place]
        asked = group.rollout.permit.question
        lines += trace_lines(
            asked.prompt, group.rollout.texts[0], asked.answer, group.verdicts[0].reward
        )
    return lines
