"""The whole pipeline in one process, as a run folder: real actors, loop, learner; plain queues."""

import time
from collections import deque

import numpy as np

from actors.rollout import RolloutActor
from cluster.messages import BASE, ScoredGroup, Verdict
from configs.run_folder import open_run
from learner.collect import Collector
from learner.history import History
from learner.host import LearnerHost
from learner.ledger import Ledger
from learner.loop import Parts, train
from learner.metrics import scalars
from learner.order import order_of
from learner.pieces import Assembly
from learner.recorder import Recorder
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
    """Of one learner process."""

    def __init__(self):
        self.versions = {}

    def publish(self, version, handed):
        self.versions[version] = handed

    def fetch(self, version, timeout_s, turn):
        offer, *pieces = self.versions[version]
        assembly = Assembly([offer])
        for number, parts in enumerate(pieces):
            assembly.add(0, number, parts)
        return assembly.arrays()


class FakeTokenizer:
    vocabulary, eos = VOCABULARY, 1

    def specials(self, around):
        return ()

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


def one_unjudged(index, sibling):
    """A judge that never has a verdict on one sample of each step of four groups."""
    return index % 4 == 1 and sibling == 2


class Killed(Exception):
    """The end of a process that can do nothing more: no last checkpoint."""


class Pipeline:
    """Rollout actors that work whenever the loop waits, in a seeded order of turns."""

    def __init__(self, config, folder, actors=1, down=lambda index, sibling: False):
        self.config, self.reports, self.down = config, [], down
        self.ends = {}  # number of reports -> what is raised then
        self.before_turn = lambda: None
        self.permits, self.rollouts, self.scored = LocalQueue(), LocalQueue(), LocalQueue()
        self.weights = LocalWeights()
        self.actors = [
            RolloutActor(n, config, FakeTokenizer(), self.permits, self.weights, self.rollouts)
            for n in range(actors)
        ]
        self.turns = np.random.default_rng(actors)
        self.folder = open_run(folder, config)
        self.learner = LearnerHost(0, 1, config, self.folder.checkpoints, VOCABULARY)
        self.begun = self.learner.create_state()
        if self.begun["phase"] == "sft":
            self.learner.begin_grpo()
        if config.lora.rank:
            self.weights.publish(BASE, self.learner.export(BASE))
        self.ledger = Ledger(**self.begun["ledger"])
        self.history = History(self.folder.ledger_file, self.ledger, self.begun["learner"])
        self.recorder = Recorder(self.folder, config, self.ledger.step, parts=())

    def check_end(self):
        if error := self.ends.get(len(self.reports)):
            raise error

    def check(self):
        self.check_end()
        self.before_turn()
        actor = self.actors[self.turns.integers(len(self.actors))]
        actor.serve(timeout_s=0.0)
        self.scored.put([judged(item, self.down) for item in self.rollouts.get(99, 0.0)])

    def permits_of(self, indices, version):
        rng = np.random.default_rng(0)
        prompts = [tuple(rng.integers(4, VOCABULARY, rng.integers(2, 8))) for _ in range(5)]
        return [make_permit(i, prompts[i % 5], 4, policy_version=version) for i in indices]

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
            order=order_of(self.config),
            history=self.history,
            permits=self.permits_of,
            ask=self.permits.put,
            check=self.check_end,
            report=self.report,
            flush=self.recorder.flush,
        )
        try:
            return train(self.config, parts, self.ledger)
        finally:
            self.learner.close()
            self.history.close()
            self.recorder.close()

    def report(self, done):
        self.reports.append(done)
        self.recorder.step(done.step, scalars(done, self.config, time.time()), {})
        self.recorder.groups(
            done.step, done.chosen.groups, done.chosen.advantages, done.chosen.trained
        )

    def fingerprints(self):
        return {report.step: report.metrics["fingerprint"] for report in self.reports}

    def rewards(self):
        return [report.chosen.mean_reward for report in self.reports]


def config_of(every_steps=5, grpo=None, **loop):
    return make_config(
        loop={"groups_per_step": 4, "steps": 30, "max_staleness": 0} | loop,
        learner={"learning_rate": 2e-2, "fsdp": 1},
        checkpoint={"every_steps": every_steps},
        grpo=grpo or {},
    )
