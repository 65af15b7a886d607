"""All that judging by a rubric takes: rules and verifiers at once, opinions of a language model.

A judge actor has one, `launch.py judge` another. Identical completions are asked about once, known
scores come from the cache, and a criterion without a score makes the whole verdict an abstention.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from actors.rewards.asking import (
    Abstain,
    Answers,
    ModelJudge,
    Opinion,
    Request,
    Score,
    reading,
    request,
)
from actors.rewards.endpoint import EndpointJudge
from actors.rewards.format import parse
from actors.rewards.rubric import Rubric, load_rubric
from actors.rewards.shaping import score
from actors.rewards.verdict_cache import VerdictCache
from cluster.messages import Calls, Question, Verdict
from configs.errors import InputError
from configs.schema import JudgeSection

LOCAL = "local"
Asked = Mapping[str, Request]  # criterion -> what is asked about one completion


@dataclass(frozen=True)
class Judging:
    """What a judge goes by; travels to its process."""

    rubric: Rubric
    section: JudgeSection = JudgeSection()
    second: Rubric | None = None  # of the second judge, which sees a sample
    cache: Path | None = None  # the file with the scores that a language model gave before


def load_judging(section: JudgeSection, kept: Path | None = None) -> Judging:
    """The rubrics of the settings, checked; `kept` as in `load_rubric`. Raises InputError."""
    rubric = load_rubric(section.rubric, kept)
    second = None
    if section.second_rubric:
        second = load_rubric(section.second_rubric, key="judge.second_rubric")
    check_judge(section, rubric, second)
    return Judging(rubric, section, second)


def check_judge(section: JudgeSection, rubric: Rubric, second: Rubric | None = None) -> None:
    """Raises InputError where the rubrics and the judge's settings do not fit together."""
    rubrics = [rubric, second] if second else [rubric]
    learned = [name for one in rubrics for name in one.learned]
    for key in ("head", "reader"):
        if learned and not getattr(section, key):
            raise InputError(
                f"judge.rubric = {section.rubric!r} has {', '.join(learned)} scored by the learned "
                f"judge, and judge.{key} is not given; launch.py judge --fit makes a head"
            )
        if getattr(section, key) and not learned:
            raise InputError(
                f"judge.{key} = {getattr(section, key)!r}: no criterion of judge.rubric = "
                f"{section.rubric!r} has the scorer 'learned'; take the key away"
            )
    _check_asked(section, [name for one in rubrics for name in one.asked])


def _check_asked(section: JudgeSection, asked: Sequence[str]) -> None:
    if asked and not section.endpoint:
        raise InputError(
            f"judge.rubric = {section.rubric!r} asks a language model about "
            f"{', '.join(asked)}, and judge.endpoint is not given: give the URL of an "
            "OpenAI-compatible server (judge.endpoint=http://host:8000/v1 judge.model=NAME), or "
            "judge.endpoint=local and a run folder as judge.model"
        )
    for key in ("endpoint", "model"):
        if getattr(section, key) and not asked:
            raise InputError(
                f"judge.{key} = {getattr(section, key)!r}: no criterion of judge.rubric = "
                f"{section.rubric!r} has the scorer 'llm', so nobody would ask it; give "
                "judge.rubric=llm, or take the key away"
            )
    if section.endpoint and not section.model:
        raise InputError("judge.endpoint is given and judge.model is not: which model is asked?")


def open_model(section: JudgeSection) -> ModelJudge | None:
    """Who answers "llm" criteria. Raises InputError for a folder that holds no model."""
    if not section.endpoint:
        return None
    if section.endpoint == LOCAL:
        from actors.local_judge import LocalJudge  # brings jax into the process

        return LocalJudge.load(Path(section.model))
    return EndpointJudge(
        section.endpoint,
        section.model,
        deadline_s=section.deadline_s,
        in_flight=section.in_flight,
        requests_per_s=section.requests_per_s,
    )


def open_learned(section: JudgeSection) -> ModelJudge | None:
    """Who scores "learned" criteria. Raises InputError."""
    if not section.head:
        return None
    from actors.learned_judge import LearnedJudge  # brings jax into the process

    return LearnedJudge.load(Path(section.head), Path(section.reader))


def open_bench(judging: Judging) -> "Bench":
    model, learned = open_model(judging.section), open_learned(judging.section)
    cache = VerdictCache(judging.cache) if (model or learned) and judging.cache else None
    return Bench(judging.rubric, model, cache, learned)


class Bench:
    """`model` answers the rubric's "llm" criteria, `learned` scores its "learned" ones.

    Their scores are kept in `cache`, if there is one.
    """

    def __init__(
        self,
        rubric: Rubric,
        model: ModelJudge | None,
        cache: VerdictCache | None = None,
        learned: ModelJudge | None = None,
    ):
        self.rubric, self._model, self._cache, self._learned = rubric, model, cache, learned

    def by(self, rubric: Rubric) -> "Bench":
        """The same model and cache under another rubric."""
        return Bench(rubric, self._model, self._cache, self._learned)

    def asked(self, question: Question, text: str) -> Asked:
        """What a model must be asked before there can be a verdict; {} without the format."""
        rubric = self.rubric
        weights = rubric.weights(question.domain).criteria
        wanted = [name for name in rubric.by_models if weights[name]]
        if not wanted or (trace := parse(text)) is None:
            return {}
        return {
            name: request(rubric.template, rubric.asked[name], question, trace)
            if rubric.template and name in rubric.asked
            else reading(question, trace)
            for name in wanted
        }

    async def opinions(
        self, requests: Sequence[Request], remembering: bool = True
    ) -> tuple[dict[Request, Opinion], Calls]:
        """Each different request is asked once. `remembering` False: the cache is not used."""
        found: dict[Request, Opinion] = {}
        calls = Calls()
        different = list(dict.fromkeys(requests))
        for model, learned in ((self._model, False), (self._learned, True)):
            some = [one for one in different if learned == (one.highest == 0)]
            if model is not None and some:
                opinions, spent = await self._opinions(model, some, remembering)
                found, calls = found | opinions, calls + spent
        return found, calls

    async def _opinions(
        self, model: ModelJudge, open_: Sequence[Request], remembering: bool
    ) -> tuple[dict[Request, Opinion], Calls]:
        cache = self._cache if remembering else None
        known = cache.look_up(model.name, open_) if cache is not None else {}
        open_ = [request for request in open_ if request not in known]
        answers = await model.opinions(open_) if open_ else Answers((), ())
        found = dict(zip(open_, answers.opinions, strict=True))
        if cache is not None:
            cache.keep(model.name, found)
        failed = Counter(opinion.kind for opinion in found.values() if isinstance(opinion, Abstain))
        return known | found, Calls(answers.seconds, len(known), dict(failed))

    async def verdicts(
        self, question: Question, texts: Sequence[str], remembering: bool = True
    ) -> tuple[list[Verdict], Calls]:
        """One for each text. Raises what `verdict` raises."""
        asked = [self.asked(question, text) for text in texts]
        requests = [request for one in asked for request in one.values()]
        opinions, calls = await self.opinions(requests, remembering)
        pairs = zip(texts, asked, strict=True)
        return [self.verdict(question, text, one, opinions) for text, one in pairs], calls

    def verdict(
        self, question: Question, text: str, asked: Asked, opinions: Mapping[Request, Opinion]
    ) -> Verdict:
        """Raises InputError for an unknown verifier, Unavailable for a checker that is down."""
        scores: dict[str, float] = {}
        for name, what in asked.items():
            opinion = opinions[what]
            if not isinstance(opinion, Score):
                return Verdict.abstain(f"{name}: {opinion.reason} ({opinion.kind})")
            scores[name] = opinion.value
        return score(question, text, self.rubric, scores)

    async def aclose(self) -> None:
        for model in (self._model, self._learned):
            if model is not None:
                await model.close()
        if self._cache is not None:
            self._cache.close()
