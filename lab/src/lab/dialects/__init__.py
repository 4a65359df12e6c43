"""The contract of both dialects as a table: every path with what it takes, answers and refuses; run against a live suite and printed as a page."""

from lab.dialects.photo import PHOTO
from lab.dialects.rows import Ask, Refusal, Row
from lab.dialects.shapes import differences
from lab.dialects.song import SONG
from lab.dialects.world import World

TABLE: tuple[Row, ...] = (*PHOTO, *SONG)

__all__ = ["TABLE", "Ask", "Refusal", "Row", "World", "differences"]
