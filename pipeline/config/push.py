"""The `push` section of the configuration: where accepted models are pushed."""

from typing import Literal

import pydantic

from framecast.clips import filesystem
from framecast.schemas.section import Section


class PushSpec(Section):
    """Where accepted models are pushed.

    Args:
        directory: Folder that TensorFlow Serving watches; local or in an object store.
        release: `stable`: a pushed version answers production traffic at once. `canary`: it is served next to the
            stable version until `framecast models promote`.
    """

    directory: str
    release: Literal["stable", "canary"] = "stable"

    @pydantic.field_validator("directory")
    @classmethod
    def _supported_scheme(cls, directory: str) -> str:
        filesystem.check_scheme(directory)
        return directory

    @pydantic.model_validator(mode="after")
    def _canary_is_local(self) -> "PushSpec":
        if self.release == "canary" and "://" in self.directory:
            raise ValueError(
                f"release: expected stable where directory is {self.directory}: an object store cannot withdraw a "
                "version atomically"
            )
        return self
