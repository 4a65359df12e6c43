"""A tag as people say it."""

from typing import Annotated

from pydantic import StringConstraints

from works.domain import TAG_LENGTH_MAX

Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=TAG_LENGTH_MAX)]
