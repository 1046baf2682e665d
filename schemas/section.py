"""The base of every section of the configuration: frozen, and strict about its keys."""

import pydantic


class Section(pydantic.BaseModel):
    """A frozen configuration section that refuses unknown keys."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
