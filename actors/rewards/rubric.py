"""A rubric as a file: criteria with weights and scorers, the shaping around them, domain overrides.

    [criteria.step_clarity]      a criterion: weight (0 to 1; all of them sum to 1) and scorer;
                                 with the scorer "llm" also question and scale (asking.py)
    [llm]                        the texts around such a question: system and template
    [shaping]                    missing_tags, repetition (at most 0), length_bonus (0 to 0.2)
    [domains.math.weights]       other weights for the questions of one domain; those not named stay
    [domains.math.shaping]       and other shaping

`judge.rubric` is the name of a file in `rubrics/`, or the path of one of your own. Whatever is
wrong in it is an InputError that lists every problem.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from actors.rewards.asking import PLACEHOLDER, PLACEHOLDERS, REQUIRED, Criterion, Template
from actors.rewards.criteria import RULES
from configs.errors import InputError, nearest, problem, read_toml
from configs.section import Section, Share, from_list

SHIPPED = Path(__file__).parent / "rubrics"
SHAPING = ("missing_tags", "repetition", "length_bonus")
CORRECTNESS = "answer_correctness"
"""Every rubric has it, because evaluation counts right answers; its weight may be 0."""

Penalty = Annotated[float, Field(le=0)]
Bonus = Annotated[float, Field(ge=0, le=0.2)]


Scale = Annotated[tuple[str, ...], BeforeValidator(from_list), Field(max_length=9)]


class CriterionTable(Section):
    weight: Share
    scorer: Literal["verifier", "rules", "llm", "learned"]
    question: str = ""
    """What a language model is asked; for the scorer "llm" alone."""
    scale: Scale = ()
    """Its answers 1, 2, ... in words, the worst first."""

    @model_validator(mode="after")
    def _asked(self):
        if self.scorer == "llm" and (not self.question.strip() or len(self.scale) < 2):
            raise ValueError("the scorer 'llm' needs a question and a scale of 2 to 9 anchors")
        if self.scorer != "llm" and (self.question or self.scale):
            raise ValueError(f"question and scale are of the scorer 'llm', not {self.scorer!r}")
        return self


class LlmTable(Section):
    system: str = ""
    template: str

    @model_validator(mode="after")
    def _placeholders_exist(self):
        for name in PLACEHOLDER.findall(self.system + self.template):
            if name not in PLACEHOLDERS:
                raise ValueError(f"{{{name}}}: {_known(name, PLACEHOLDERS)}")
        for name in REQUIRED:
            if self.template.count(f"{{{name}}}") != 1:
                raise ValueError(f"the template must contain {{{name}}} once")
        behind = self.template.partition("{completion}")[2].strip()
        if "\n" in behind or not behind or PLACEHOLDER.search(behind):
            raise ValueError(
                "the template must end in {completion} and one line, such as 'Score:', that the "
                "model answers with a number"
            )
        return self


class ShapingTable(Section):
    missing_tags: Penalty
    repetition: Penalty
    length_bonus: Bonus


class ShapingOverride(Section):
    missing_tags: Penalty | None = None
    repetition: Penalty | None = None
    length_bonus: Bonus | None = None


class DomainTable(Section):
    weights: dict[str, Share] = {}
    shaping: ShapingOverride = ShapingOverride()


class RubricFile(Section):
    """What a file may say."""

    criteria: dict[str, CriterionTable]
    llm: LlmTable | None = None
    shaping: ShapingTable
    domains: dict[str, DomainTable] = {}

    @model_validator(mode="after")
    def _scorers_know_their_criteria(self):
        for name, table in self.criteria.items():
            if table.scorer == "verifier" and name != CORRECTNESS:
                raise ValueError(
                    f"criteria.{name}.scorer = 'verifier': a verifier scores {CORRECTNESS} only"
                )
            if table.scorer == "rules" and name not in RULES:
                raise ValueError(
                    f"criteria.{name}.scorer = 'rules': {_known(name, tuple(RULES))}; the rules "
                    f"know {', '.join(RULES)}"
                )
            if table.scorer == "llm" and self.llm is None:
                raise ValueError(f"criteria.{name}.scorer = 'llm': the table [llm] is missing")
        if CORRECTNESS not in self.criteria:
            raise ValueError(f"criteria.{CORRECTNESS} is missing; its weight may be 0")
        return self

    @model_validator(mode="after")
    def _weights_sum_to_one(self):
        weights = {name: table.weight for name, table in self.criteria.items()}
        _check_sum("criteria", weights)
        for domain, table in self.domains.items():
            for name in table.weights:
                if name not in weights:
                    raise ValueError(
                        f"domains.{domain}.weights.{name}: {_known(name, tuple(weights))}"
                    )
            _check_sum(f"domains.{domain}.weights", weights | table.weights)
        return self


@dataclass(frozen=True, slots=True)
class Weights:
    """What counts how much for the questions of one domain."""

    criteria: dict[str, float]
    missing_tags: float
    repetition: float
    length_bonus: float


@dataclass(frozen=True, slots=True)
class Rubric:
    """A checked rubric; `source` is the text of its file."""

    default: Weights
    domains: dict[str, Weights]
    source: str
    asked: dict[str, Criterion] = field(default_factory=dict)  # those that a language model scores
    template: Template | None = None  # of such a question
    learned: tuple[str, ...] = ()  # those that the learned judge scores

    def weights(self, domain: str) -> Weights:
        return self.domains.get(domain, self.default)

    @property
    def by_models(self) -> tuple[str, ...]:
        """Criteria whose scores are opinions of a model."""
        return (*self.asked, *self.learned)

    @property
    def parts(self) -> tuple[str, ...]:
        """What a verdict consists of: the criteria and the shaping."""
        return (*self.default.criteria, *SHAPING)


def load_rubric(name: str, kept: Path | None = None, key: str = "judge.rubric") -> Rubric:
    """The rubric of `key = name`; raises InputError.

    `kept`: the copy in the folder of a run. Where it exists, it must say the same: a run that goes
    on is judged as it was.
    """
    rubric = _load(name, key)
    if kept is not None and kept.exists():
        before = _load(str(kept), key)
        if replace(before, source="") != replace(rubric, source=""):
            raise InputError(
                f"judge.rubric = {name!r} is another rubric than the one that this run was begun "
                f"with; give judge.rubric={kept} to go on with it, or another folder for a new run"
            )
    return rubric


def _load(name: str, key: str) -> Rubric:
    path = Path(name) if name.endswith(".toml") else SHIPPED / f"{name}.toml"
    if path.parent == SHIPPED and not path.exists():
        shipped = tuple(sorted(file.stem for file in SHIPPED.glob("*.toml")))
        raise InputError(
            f"{key} = {name!r}: {_known(name, shipped)}; shipped are {', '.join(shipped)}, "
            "and a path that ends in .toml names a file of your own"
        )
    source, tree = read_toml(path, "rubric", "give a shipped name or a .toml file as " + key)
    try:
        file = RubricFile.model_validate(tree, strict=True)
    except ValidationError as error:
        lines = [_problem(detail, str(path), tree) for detail in error.errors()]
        raise InputError("\n  ".join(["the rubric is not usable:", *lines])) from error
    return _rubric(file, source)


def _rubric(file: RubricFile, source: str) -> Rubric:
    weights = {name: table.weight for name, table in file.criteria.items()}
    shaping = file.shaping.model_dump()
    domains = {
        domain: Weights(
            criteria=weights | table.weights,
            **(shaping | table.shaping.model_dump(exclude_none=True)),
        )
        for domain, table in file.domains.items()
    }
    return Rubric(
        Weights(criteria=weights, **shaping),
        domains,
        source,
        asked={
            name: Criterion(table.question, table.scale)
            for name, table in file.criteria.items()
            if table.scorer == "llm"
        },
        learned=tuple(n for n, table in file.criteria.items() if table.scorer == "learned"),
        template=Template(file.llm.system, file.llm.template) if file.llm else None,
    )


def _check_sum(where: str, weights: Mapping[str, float]) -> None:
    total = sum(weights.values())
    if abs(total - 1) > 1e-6:
        listed = " + ".join(f"{name} {weight:g}" for name, weight in weights.items())
        raise ValueError(f"{where}: the weights sum to {total:g}, they must sum to 1 ({listed})")


def _known(name: str, known: tuple[str, ...]) -> str:
    near = nearest(name, known)
    return f"unknown; did you mean {near}?" if near else f"unknown; known: {', '.join(known)}"


def _problem(detail: Any, where: str, tree: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    known = _keys(tree)
    near = nearest(key, known)
    return problem(detail, where, f"did you mean {near}?" if near else "known: " + ", ".join(known))


def _keys(tree: Mapping[str, Any]) -> list[str]:
    """Every key that a file with these criteria and domains may have."""
    criteria, domains = (
        tuple(table) if isinstance(table := tree.get(kind), dict) else ()
        for kind in ("criteria", "domains")
    )
    return [
        *("criteria", "shaping", "domains", "llm"),
        *(f"llm.{key}" for key in LlmTable.model_fields),
        *(f"criteria.{name}.{key}" for name in criteria for key in CriterionTable.model_fields),
        *(f"shaping.{key}" for key in SHAPING),
        *(f"domains.{name}.{key}" for name in domains for key in DomainTable.model_fields),
        *(f"domains.{name}.shaping.{key}" for name in domains for key in SHAPING),
    ]
