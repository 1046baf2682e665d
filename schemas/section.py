"""The base class of configuration sections."""

import pydantic


class Section(pydantic.BaseModel):
    """A frozen configuration section that rejects unknown keys."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
