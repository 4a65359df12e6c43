"""The price list: what one item of a kind costs, and in which asset. Prices never come from a client."""

from dataclasses import dataclass

from billing.domain.entry import Asset
from common.events.tasks import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """Prices per item, in force from now on; a hold keeps the price it was placed at."""

    picture_credits: int = 1
    song_points: int = 100

    def of(self, kind: Kind) -> tuple[Asset, int]:
        """The asset and the price of one item."""
        return ("point", self.song_points) if kind == "song" else ("credit", self.picture_credits)
