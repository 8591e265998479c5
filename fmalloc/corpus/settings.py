"""What is left out of a corpus."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class CorpusSettings(BaseModel):
    """What is dropped from the pairs to learn from, always counted; an empty side is dropped whatever this says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    maximum_characters: Annotated[int | None, Field(ge=1, description="of the longer side; none: any length")] = 5000
    maximum_ratio: Annotated[float | None, Field(gt=1, description="of the sides' characters; none: any ratio")] = 9.0
    drop_control_characters: Annotated[bool, Field(description="pairs with ASCII control characters or U+FFFD")] = True
    drop_duplicates: Annotated[bool, Field(description="all but the first of identical pairs")] = True
    drop_overlap: Annotated[bool, Field(description="pairs that dev or test have, but for case and punctuation")] = True


EVERYTHING = CorpusSettings(
    maximum_characters=None,
    maximum_ratio=None,
    drop_control_characters=False,
    drop_duplicates=False,
    drop_overlap=False,
)
