"""What a section of a configuration, or of a rubric, is: frozen, and nothing in it unknown."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


def from_list(value: object) -> object:
    """TOML has lists, a frozen section has tuples."""
    return tuple(value) if isinstance(value, list) else value


class Section(BaseModel):
    """Base of every section: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __hash__(self) -> int:
        """Also of a section that holds a dictionary: programs are kept by their configuration."""
        return hash(self.model_dump_json())
