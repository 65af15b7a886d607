"""A rubric as a file: criteria with weights and scorers, the shaping around them, domain overrides.

    [criteria.step_clarity]      a criterion: weight (0 to 1; all of them sum to 1) and scorer
    [shaping]                    missing_tags, repetition (at most 0), length_bonus (0 to 0.2)
    [domains.math.weights]       other weights for the questions of one domain; those not named stay
    [domains.math.shaping]       and other shaping

`judge.rubric` is the name of a file in `rubrics/`, or the path of one of your own. Whatever is
wrong in it is an InputError that lists every problem.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from actors.rewards.criteria import RULES
from configs.errors import InputError, nearest, problem, read_toml
from configs.schema import Section, Share

SHIPPED = Path(__file__).parent / "rubrics"
SHAPING = ("missing_tags", "repetition", "length_bonus")
CORRECTNESS = "answer_correctness"
"""Every rubric has it, because evaluation counts right answers; its weight may be 0."""

Penalty = Annotated[float, Field(le=0)]
Bonus = Annotated[float, Field(ge=0, le=0.2)]


class CriterionTable(Section):
    weight: Share
    scorer: Literal["verifier", "rules"]


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

    def weights(self, domain: str) -> Weights:
        return self.domains.get(domain, self.default)

    @property
    def parts(self) -> tuple[str, ...]:
        """What a verdict consists of: the criteria and the shaping."""
        return (*self.default.criteria, *SHAPING)


def load_rubric(name: str, kept: Path | None = None) -> Rubric:
    """The rubric of `judge.rubric = name`; raises InputError.

    `kept`: the copy in the folder of a run. Where it exists, it must say the same: a run that goes
    on is judged as it was.
    """
    rubric = _load(name)
    if kept is not None and kept.exists():
        before = _load(str(kept))
        if (before.default, before.domains) != (rubric.default, rubric.domains):
            raise InputError(
                f"judge.rubric = {name!r} is another rubric than the one that this run was begun "
                f"with; give judge.rubric={kept} to go on with it, or another folder for a new run"
            )
    return rubric


def _load(name: str) -> Rubric:
    path = Path(name) if name.endswith(".toml") else SHIPPED / f"{name}.toml"
    if path.parent == SHIPPED and not path.exists():
        shipped = tuple(sorted(file.stem for file in SHIPPED.glob("*.toml")))
        raise InputError(
            f"judge.rubric = {name!r}: {_known(name, shipped)}; shipped are {', '.join(shipped)}, "
            "and a path that ends in .toml names a file of your own"
        )
    source, tree = read_toml(path, "rubric", "give a shipped name or a .toml file as judge.rubric")
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
    return Rubric(Weights(criteria=weights, **shaping), domains, source)


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
        *("criteria", "shaping", "domains"),
        *(f"criteria.{name}.{key}" for name in criteria for key in CriterionTable.model_fields),
        *(f"shaping.{key}" for key in SHAPING),
        *(f"domains.{name}.{key}" for name in domains for key in DomainTable.model_fields),
        *(f"domains.{name}.shaping.{key}" for name in domains for key in SHAPING),
    ]
