"""The whole pipeline in one process: the same actors, loop and learner, plain queues, no Ray."""

from collections import deque

import numpy as np
import pytest

from actors.rollout import RolloutActor
from cluster.messages import ScoredGroup, Verdict
from learner.collect import Collector
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


def judged(item, down):
    group = item.rollout if isinstance(item, ScoredGroup) else item
    verdicts = tuple(
        Verdict.abstain("the judge is down")
        if down(group.permit.index, sibling)
        else Verdict(float((tokens == LIKED).mean()), {})
        for sibling, tokens in enumerate(group.tokens)
    )
    return ScoredGroup(group, verdicts, 0, 0.0, 0.0)


class Pipeline:
    """Rollout actors that work whenever the loop waits, in a seeded order of turns."""

    def __init__(self, config, folder, actors=1, down=lambda index, sibling: False):
        self.config, self.reports, self.stop_at, self.down = config, [], None, down
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

    def check(self):
        if self.stop_at is not None and len(self.reports) >= self.stop_at:
            raise Stop("enough")
        actor = self.actors[self.turns.integers(len(self.actors))]
        actor.serve(timeout_s=0.0)
        self.scored.put([judged(item, self.down) for item in self.rollouts.get(99, 0.0)])

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
            collector=Collector(
                self.scored,
                self.check,
                timeout_s=60,
                ask_judges=self.rollouts.put,
                max_abstain=self.config.judge.max_abstain,
                pause_s=0.0,
            ),
            ask=self.ask,
            check=self.check,
            report=self.reports.append,
            flush=lambda: None,
        )
        ledger = Ledger(**self.begun["ledger"])
        ledger, reason = train(self.config, parts, ledger)
        self.learner.close()
        return ledger, reason

    def rewards(self):
        return [report.chosen.mean_reward for report in self.reports]


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


def test_a_run_does_not_depend_on_the_number_of_actors(tmp_path):
    runs = []
    for actors in (1, 3):
        pipeline = Pipeline(config_of(steps=4, max_staleness=1), tmp_path / str(actors), actors)
        pipeline.train()
        runs.append((pipeline.rewards(), pipeline.learner.parameters_sha256()))
        ages = [r.step - 1 - r.chosen.groups[0].rollout.policy_version for r in pipeline.reports]
        assert ages == [0, 1, 1, 1]
    assert runs[0] == runs[1]


def test_a_stopped_run_goes_on_where_it_was(tmp_path):
    whole = Pipeline(config_of(steps=6), tmp_path / "whole")
    whole.train()
    first = Pipeline(config_of(steps=6), tmp_path / "parts")
    first.stop_at = 3
    ledger, reason = first.train()
    assert (ledger.step, reason) == (3, "enough")
    second = Pipeline(config_of(steps=6), tmp_path / "parts")
    ledger, _ = second.train()
    assert [r.step for r in second.reports] == [4, 5, 6] and ledger.consumed == 24
    assert first.rewards() + second.rewards() == whole.rewards()
    assert second.learner.parameters_sha256() == whole.learner.parameters_sha256()


def test_an_outage_of_the_judge_changes_nothing_but_the_time(tmp_path, caplog):
    """Down for a while in the middle of a run: the run is bitwise the one without an outage."""
    undisturbed = Pipeline(config_of(steps=4), tmp_path / "a")
    undisturbed.train()
    asked = []

    def down(index, sibling):
        if 4 <= index < 8:  # the groups of the second step
            asked.append(index)
            return len(asked) < 60
        return False

    disturbed = Pipeline(config_of(steps=4), tmp_path / "b", down=down)
    ledger, reason = disturbed.train()
    assert (ledger.step, reason) == (4, "all steps done") and len(asked) >= 60
    assert "training pauses" in caplog.text and "the judge is down" in caplog.text
    assert "goes on" in caplog.text
    assert disturbed.rewards() == undisturbed.rewards()
    assert disturbed.learner.parameters_sha256() == undisturbed.learner.parameters_sha256()


def test_a_sibling_without_a_verdict_is_left_out_and_is_no_zero(tmp_path):
    pipeline = Pipeline(
        config_of(steps=2), tmp_path, down=lambda index, sibling: sibling == 1 and index % 2 == 0
    )
    pipeline.train()
    for report in pipeline.reports:
        chosen = report.chosen
        assert (~chosen.valid).sum() == 2 and not chosen.valid[::2, 1].any()
        assert not chosen.advantages[~chosen.valid].any()
        judged_rewards = [v.reward for g in chosen.groups for v in g.verdicts if not v.abstained]
        assert chosen.mean_reward == pytest.approx(np.mean(judged_rewards))
