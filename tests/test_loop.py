"""The whole pipeline in one process: the same actors, loop and learner, plain queues, no Ray."""

from collections import deque

import numpy as np
import pytest

from actors.rollout import RolloutActor
from cluster.messages import ScoredGroup, Verdict
from configs.schema import CheckpointSection
from learner.collect import Collector
from learner.history import History
from learner.host import LearnerHost
from learner.ledger import Ledger
from learner.loop import Parts, Stop, train
from tests.learner.conftest import VOCABULARY, make_config, make_permit

LIKED = 9  # the token that the judge of this test likes


class LocalQueue:
    def __init__(self):
        self.items = deque()

    def put(self, items):
        self.items.extend(items)

    def get(self, max_items, timeout_s):
        return [self.items.popleft() for _ in range(min(max_items, len(self.items)))]


class LocalWeights:
    def __init__(self):
        self.versions = {}

    def publish(self, version, params):
        self.versions[version] = params

    def fetch(self, version, timeout_s):
        return self.versions[version]


class FakeTokenizer:
    vocabulary, eos = VOCABULARY, 1

    def stops(self, pieces):
        return (self.eos,)

    def decode(self, tokens):
        return " ".join(map(str, tokens))


def judged(group):
    rewards = [float((tokens == LIKED).mean()) for tokens in group.tokens]
    return ScoredGroup(group, tuple(Verdict(r, {}) for r in rewards), 0, 0.0, 0.0)


class Killed(Exception):
    """The end of a process that can do nothing more: no last checkpoint."""


class Pipeline:
    """Rollout actors that work whenever the loop waits, in a seeded order of turns."""

    def __init__(self, config, folder, actors=1):
        self.config, self.reports = config, []
        self.ends = {}  # number of reports -> what is raised then
        self.permits, self.rollouts, self.scored = LocalQueue(), LocalQueue(), LocalQueue()
        self.weights = LocalWeights()
        self.actors = [
            RolloutActor(n, config, FakeTokenizer(), self.permits, self.weights, self.rollouts)
            for n in range(actors)
        ]
        self.turns = np.random.default_rng(actors)
        self.learner = LearnerHost(0, 1, config, folder, VOCABULARY)
        self.begun = self.learner.create_state()
        if self.begun["phase"] == "sft":
            self.learner.begin_grpo()
        self.ledger = Ledger(**self.begun["ledger"])
        self.history = History(folder / "ledger.sqlite", self.ledger)

    def check(self):
        if error := self.ends.get(len(self.reports)):
            raise error
        actor = self.actors[self.turns.integers(len(self.actors))]
        actor.serve(timeout_s=0.0)
        self.scored.put([judged(group) for group in self.rollouts.get(99, 0.0)])

    def ask(self, indices, version):
        rng = np.random.default_rng(0)
        prompts = [tuple(rng.integers(4, VOCABULARY, rng.integers(2, 8))) for _ in range(5)]
        self.permits.put(
            [make_permit(i, prompts[i % 5], 4, policy_version=version) for i in indices]
        )

    def train(self):
        parts = Parts(
            learner=self.learner,
            weights=self.weights,
            collector=Collector(self.scored, self.check, timeout_s=60),
            history=self.history,
            ask=self.ask,
            check=self.check,
            report=self.reports.append,
            flush=lambda: None,
        )
        try:
            return train(self.config, parts, self.ledger)
        finally:
            self.learner.close()
            self.history.close()

    def fingerprints(self):
        return {report.step: report.metrics["fingerprint"] for report in self.reports}

    def rewards(self):
        return [float(report.chosen.rewards.mean()) for report in self.reports]


def config_of(**loop):
    return make_config(
        loop={"groups_per_step": 4, "steps": 30, "max_staleness": 0} | loop,
        learner={"learning_rate": 2e-2, "fsdp": 1},
        checkpoint={"every_steps": 5},
    )


def test_reward_rises_and_every_group_is_on_policy(tmp_path):
    pipeline = Pipeline(config_of(), tmp_path)
    ledger, reason = pipeline.train()
    rewards = pipeline.rewards()
    assert np.mean(rewards[:3]) < 0.15 < 0.5 < np.mean(rewards[-3:])
    assert reason == "all steps done" and ledger.consumed == 120 == ledger.cursor
    for report in pipeline.reports:
        assert {g.rollout.policy_version for g in report.chosen.groups} == {report.step - 1}
        assert report.metrics["ratio"] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("max_staleness", [0, 1, 2])
def test_a_run_that_was_cut_off_is_the_same_run(max_staleness, tmp_path):
    """Killed between two checkpoints, then stopped at one; 1, 2, 3 and again 1 rollout actors."""
    config = config_of(steps=6, max_staleness=max_staleness).model_copy(
        update={"checkpoint": CheckpointSection(every_steps=2)}
    )
    whole = Pipeline(config, tmp_path / "whole")
    whole.train()
    ages = [r.step - 1 - r.chosen.groups[0].rollout.policy_version for r in whole.reports]
    assert ages == [min(step, max_staleness) for step in range(6)]

    killed = Pipeline(config, tmp_path / "parts", actors=2)
    killed.ends[3] = Killed()
    with pytest.raises(Killed):
        killed.train()
    stopped = Pipeline(config, tmp_path / "parts", actors=3)
    stopped.ends[2] = Stop("enough")
    ledger, reason = stopped.train()
    assert (ledger.step, reason) == (4, "enough")
    finished = Pipeline(config, tmp_path / "parts")
    ledger, _ = finished.train()

    assert ledger.consumed == 24
    sittings = [pipeline.fingerprints() for pipeline in (killed, stopped, finished)]
    assert [list(sitting) for sitting in sittings] == [[1, 2, 3], [3, 4], [5, 6]]
    assert all(sitting.items() <= whole.fingerprints().items() for sitting in sittings)
    assert finished.learner.parameters_sha256() == whole.learner.parameters_sha256()
