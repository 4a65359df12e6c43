"""Where each service's replicas are, and which of them to ask next."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(slots=True, eq=False)
class Address:
    """One replica; it is passed over until `away_until` (loop time) after a connection to it failed."""

    service: str
    host: str
    port: int
    away_until: float = 0.0

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @classmethod
    def of(cls, service: str, url: str) -> "Address":
        """From `http://host:port`; raises ValueError for anything else."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/") or parts.query:
            raise ValueError(f"the address of {service} must look like http://host:port, not {url}")
        return cls(service, parts.hostname, parts.port or 80)


@dataclass(slots=True, eq=False)
class Replicas:
    """The addresses of one service, asked in turn."""

    addresses: Sequence[Address]
    now: Callable[[], float]
    pause_seconds: float
    _turn: int = field(default=0)

    def in_turn(self) -> list[Address]:
        """Every address once: next first, those that lately failed last (they are tried, for they may be back)."""
        addresses = self.addresses
        if len(addresses) == 1:
            return [*addresses]
        self._turn = turn = (self._turn + 1) % len(addresses)
        now = self.now()
        return sorted([*addresses[turn:], *addresses[:turn]], key=lambda address: address.away_until > now)

    def failed(self, address: Address) -> None:
        """A connection to it failed: ask the others first for a while."""
        address.away_until = self.now() + self.pause_seconds

    def answered(self, address: Address) -> None:
        """It is back."""
        address.away_until = 0.0


def open_replicas(urls: Mapping[str, Sequence[str]], *, now: Callable[[], float], pause_seconds: float) -> dict[str, Replicas]:
    """The replicas of every service by its name."""
    return {service: Replicas([Address.of(service, url) for url in addresses], now, pause_seconds) for service, addresses in urls.items()}
