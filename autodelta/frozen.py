"""The base of what is written down or handed over as a whole: fields do not change, and an unknown one is an error."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A pydantic model whose fields are all known, and stay as they were made."""

    model_config = ConfigDict(frozen=True, extra="forbid")
