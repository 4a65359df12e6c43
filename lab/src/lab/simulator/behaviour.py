"""How a workflow behaves: well, or in one of the ways that real ones fail."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Manner = Literal["well", "drop", "duplicate", "forge", "fail", "before-answer", "partial", "refuse", "break", "steal", "supersede"]
"""`drop` never calls back; `duplicate` calls back three times; `forge` sends a call with a wrong secret and one with a wrong token, and then a right one;
`fail` says that it failed; `before-answer` calls back before the webhook answers; `partial` leaves the last picture out;
`refuse` answers 403; `break` answers 500 and calls back all the same; `steal` first calls with the token of another task; `supersede` says that the first
attempt may be repeated, and calls for it all the same once the second is under way."""
MANNERS: tuple[Manner, ...] = get_args(Manner)
DELAY_SECONDS_MAX = 3600.0


@dataclass(frozen=True)
class Behaviour:
    """A manner, how long a workflow takes, and whether it signs its calls or names the header secret."""

    manner: Manner = "well"
    delay_seconds: float = 0.05
    signs: bool = False

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "Behaviour":
        """Raises ValueError or TypeError for what there is not."""
        if not isinstance(said, Mapping):
            raise TypeError("a behaviour must be an object")
        if unknown := set(said) - {"manner", "delay_seconds", "signs"}:
            raise ValueError(f"a behaviour has no {', '.join(sorted(unknown))}")
        manner = said.get("manner", "well")
        delay_seconds = float(said.get("delay_seconds", cls.delay_seconds))
        if manner not in MANNERS:
            raise ValueError(f"manner must be one of {', '.join(MANNERS)}")
        if not 0 <= delay_seconds <= DELAY_SECONDS_MAX:
            raise ValueError(f"delay_seconds must be 0 to {DELAY_SECONDS_MAX:.0f}")
        return cls(manner, delay_seconds, bool(said.get("signs", False)))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
