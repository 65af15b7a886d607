"""What travels between processes.

Imports only numpy: Ray unpickles every message inside its queue actor, which pays for each import.
Shapes: G = siblings (completions of one prompt), P = prompt tokens, N = tokens of one completion.
"""

import math
import time
from dataclasses import dataclass, field

import numpy as np

NOBODY = -1  # the number of no actor
BASE = -1  # the version of the weights that adapters lie over: published once


@dataclass(frozen=True, slots=True)
class Question:
    """One row of a data set."""

    id: str
    prompt: str
    reasoning: str  # the reference trace; "" if the data has none
    answer: str  # the reference answer, read by the judge only
    domain: str
    verifier: str  # how the answer is checked: "number", "choice", "exact", ...


@dataclass(frozen=True, slots=True)
class Restraint:
    """What an evaluation does otherwise than training, which draws from the whole distribution."""

    top_k: int = 0  # only from so many likeliest tokens; 0: all
    top_p: float = 1.0  # then from the fewest that have this probability together
    min_p: float = 0.0  # then from those with this share of the likeliest one's probability
    close_reasoning: bool = False  # the closing tag is written at the end of reasoning's budget


@dataclass(frozen=True, slots=True)
class Permit:
    """One question to sample, and the right to do so: actors sample only what was asked for."""

    stream: str  # "train", or the name of an evaluation
    index: int  # place in that stream; (stream, index) is unique in a run
    question: Question
    tokens: np.ndarray  # [P] int32, the templated prompt
    siblings: int  # G
    temperature: float  # 0: greedy
    policy_version: int  # the version it must be sampled with
    restraint: Restraint = Restraint()

    @property
    def key(self) -> tuple[str, int]:
        return self.stream, self.index


@dataclass(frozen=True, slots=True)
class Swap:
    """How an actor came to the policy that it has."""

    version: int
    bytes: int  # that came: of an adapter, those of the adapter
    pause_s: float  # in which nothing was decoded because of it
    total_s: float  # from the moment that it was asked for


@dataclass(frozen=True, slots=True)
class RolloutGroup:
    """All completions of one permit."""

    permit: Permit
    policy_version: int  # that sampled them; the oldest one, if weights were swapped in flight
    tokens: tuple[np.ndarray, ...]  # G x [N] int32, the end-of-sequence token included
    logprobs: tuple[np.ndarray, ...]  # G x [N] float32, under the policy that sampled them
    texts: tuple[str, ...]  # G
    truncated: np.ndarray  # [G] bool, True where the budget ended the completion
    actor: int
    finished_at: float  # seconds since the epoch
    swap: Swap | None = None  # the last one of the actor

    @property
    def key(self) -> tuple[str, int]:
        return self.permit.key


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one completion: a reward with its parts, or an abstention with a reason."""

    reward: float  # not a number where there is none: nobody can take it for a zero
    parts: dict[str, float]  # criteria and shaping, weighted: they sum to the reward
    abstained: str = ""  # why there is no reward; "" when there is one
    scores: dict[str, float] = field(default_factory=dict)
    """Each criterion from 0 to 1, before its weight; empty where the format is not kept."""

    watched: dict[str, float] = field(default_factory=dict)
    """What a policy that games the rubric would change: steps, characters, share of filler."""

    @classmethod
    def abstain(cls, reason: str) -> "Verdict":
        return cls(math.nan, {}, abstained=reason)


@dataclass(frozen=True, slots=True)
class Calls:
    """What the judging of a group took of a model."""

    seconds: tuple[float, ...] = ()  # of each request, failed ones too
    cached: int = 0  # scores that were known
    failed: dict[str, int] = field(default_factory=dict)  # requests without a score, by kind

    def __add__(self, other: "Calls") -> "Calls":
        kinds = dict.fromkeys((*self.failed, *other.failed))
        return Calls(
            self.seconds + other.seconds,
            self.cached + other.cached,
            {kind: self.failed.get(kind, 0) + other.failed.get(kind, 0) for kind in kinds},
        )


@dataclass(frozen=True, slots=True)
class ScoredGroup:
    """A rollout group with one verdict for each completion."""

    rollout: RolloutGroup
    verdicts: tuple[Verdict, ...]  # G
    judge: int
    judge_s: float  # time spent on the group
    finished_at: float  # seconds since the epoch
    tried: tuple[int, ...] = ()  # judges that abstained on some of it since it was last asked for
    calls: Calls = Calls()
    second: tuple[Verdict, ...] = ()  # those of the second judge, where it was asked

    @classmethod
    def instead(cls, permit: Permit, reason: str) -> "ScoredGroup":
        """Stands for a group that cannot be had: one token a sibling, which weighs nothing."""
        siblings = permit.siblings
        rollout = RolloutGroup(
            permit,
            permit.policy_version,
            tokens=(np.zeros(1, np.int32),) * siblings,
            logprobs=(np.zeros(1, np.float32),) * siblings,
            texts=("",) * siblings,
            truncated=np.zeros(siblings, bool),
            actor=NOBODY,
            finished_at=time.time(),
        )
        return cls(rollout, (Verdict.abstain(reason),) * siblings, NOBODY, 0.0, time.time())

    @property
    def set_aside(self) -> str:
        """Why nobody sampled it; "" for a group that somebody did."""
        return self.verdicts[0].abstained if self.rollout.actor == NOBODY else ""

    @property
    def key(self) -> tuple[str, int]:
        return self.rollout.permit.key

    @property
    def abstentions(self) -> tuple[str, ...]:
        """Why siblings have no verdict, one reason each."""
        return tuple(verdict.abstained for verdict in self.verdicts if verdict.abstained)
