"""The `[lora]` section: an adapter is trained instead of the policy's own weights."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from configs.section import Section, from_list

Target = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class LoraSection(Section):
    """Low-rank adaptation (Hu et al. 2021): each target W becomes W + alpha / rank B A."""

    rank: Annotated[int, Field(ge=0)] = 0
    """Rank of the change; 0: all weights are trained. With an adapter the cold start trains one
    too, and what GRPO begins from has it merged."""
    alpha: Annotated[float, Field(gt=0)] = 32.0
    targets: Annotated[tuple[Target, ...], BeforeValidator(from_list), Field(min_length=1)] = (
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    )
    """The matrices of each layer that get one, by their names in a Hugging Face folder."""

    @property
    def scale(self) -> float:
        return self.alpha / max(1, self.rank)
