"""Which ports a suite takes: the ones of the settings, or free ones that it keeps; and who else is on them."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from common.settings import PORTS
from suite.embedded.parts import free_port, is_port_taken
from suite.home import Home, SuiteError
from suite.members import NAMES

POSTGRES_PORT = 8132
KAFKA_PORT = 8192
MAILBOX_PORT = 8125
S3_PORT = 8133
SIMULATOR_PORT = 8150
PARTS = ("postgres", "kafka", "mailbox", "s3", "simulator")
ADMIN_OFFSET = 1000
REPLICA_STEP = 40
NAMED_MAX = 3
"""So many taken ports are named in a sentence; more are counted."""
_BLOCK = 100
_BLOCKS = [base for thousand in range(16_000, 28_000, 2_000) for base in range(thousand, thousand + 1_000, _BLOCK)]
"""Where free ports are looked for: a thousand for services and parts, the next one for admin listeners. Single free ports are looked for above them."""
_claims: dict[int, int] = {}
"""Sockets on the last port of each block that is ours: two suites that start at the same moment find the same ports free, but only one can have this."""


@dataclass(frozen=True)
class Ports:
    """Every port of a suite. A service's admin listener is a thousand above its first one."""

    services: Mapping[str, list[int]]
    postgres: int
    kafka: int
    mailbox: int
    s3: int
    simulator: int

    def taken(self) -> list[str]:
        """The service ports somebody else listens on, as words."""
        found = []
        for name, ports in self.services.items():
            found += [f"{port} ({name})" for port in ports if is_port_taken(port)]
            found += [f"{port + ADMIN_OFFSET} ({name}, admin)" for port in ports if is_port_taken(port + ADMIN_OFFSET)]
        return [*found, *([f"{self.mailbox} (mailbox page)"] if is_port_taken(self.mailbox) else [])]

    def check(self) -> None:
        """Raises SuiteError when ports are taken, saying which and what to do."""
        taken = self.taken()
        if not taken:
            return
        shown = ", ".join(taken[:NAMED_MAX]) + (f" and {len(taken) - NAMED_MAX} more" if len(taken) > NAMED_MAX else "")
        words = f"Port {shown} is" if len(taken) == 1 else f"Ports {shown} are"
        raise SuiteError(
            f"{words} taken, by another suite or another program. Let Darkroom choose free ones: darkroom up --any-ports"
            + (f" (or give it one: {self._another()} darkroom up)." if len(taken) <= NAMED_MAX else ".")
        )

    def _another(self) -> str:
        """For each name that has a taken port, the setting that gives it a free one."""
        ours = {port + more for ports in [*self.services.values(), [self.mailbox]] for port in ports for more in (0, ADMIN_OFFSET)}
        found = []
        for variable, ports in [*((f"{name.upper()}_PORT", ports) for name, ports in self.services.items()), ("DARKROOM_MAILBOX_PORT", [self.mailbox])]:
            offsets = (0,) if variable == "DARKROOM_MAILBOX_PORT" else (0, ADMIN_OFFSET)
            if not any(is_port_taken(port + more) for port in ports for more in offsets):
                continue
            shift = next(n for n in range(1, 65536) if not _in_the_way([port + more + n for port in ports for more in offsets], ours))
            found.append(f"{variable}={ports[0] + shift}")
            ours |= {port + more + shift for port in ports for more in offsets}
        return " ".join(found)


def _in_the_way(ports: list[int], ours: set[int]) -> bool:
    return any(port in ours or is_port_taken(port) for port in ports)


def choose_ports(home: Home, *, any_ports: bool, replicas: Mapping[str, int]) -> Ports:
    """The ports of the settings, or with `any_ports` free ones, the same at every start of this folder."""
    if any_ports:
        chosen = home.remembered("ports", partial(_free_ports, replicas_max=max(replicas.values(), default=1)))
        _claim(chosen[NAMES[0]])
    else:
        names = {name: _number(f"{name.upper()}_PORT", PORTS[name]) for name in NAMES}
        parts = {"postgres": POSTGRES_PORT, "kafka": KAFKA_PORT, "mailbox": MAILBOX_PORT, "s3": S3_PORT, "simulator": SIMULATOR_PORT}
        chosen = {**names, **{part: _number(f"DARKROOM_{part.upper()}_PORT", port) for part, port in parts.items()}}
    services = {name: [chosen[name] + REPLICA_STEP * n for n in range(replicas.get(name, 1))] for name in NAMES}
    return Ports(services, **{part: chosen.get(part) or free_port() for part in PARTS})  # a folder of an older version knows fewer parts


def _number(name: str, default: int) -> int:
    given = os.environ.get(name, "")
    if not given:
        return default
    if not given.isdigit() or not 0 < int(given) < 65536 - ADMIN_OFFSET:
        raise SuiteError(f"{name}={given} is not a port.")
    return int(given)


def _free_ports(*, replicas_max: int) -> dict[str, int]:
    """A run of free ports, below the range that outgoing connections are given; those of so many replicas are free too."""
    names = [*NAMES, *PARTS]
    for base in random.sample(_BLOCKS, len(_BLOCKS)):
        if not _claim(base):
            continue
        ports = [base + n for n in range(len(names))]
        wanted = [port + REPLICA_STEP * n + more for port in ports for n in range(replicas_max) for more in (0, ADMIN_OFFSET)]
        if not any(map(is_port_taken, wanted)):
            return dict(zip(names, ports, strict=True))
        os.close(_claims.pop(base))
    raise SuiteError("There are not enough free ports on 127.0.0.1.")


def _claim(base: int) -> bool:
    """Have a block for as long as this process lives; False when another suite has it."""
    if base not in _claims:
        claim = socket.socket()
        try:
            claim.bind(("127.0.0.1", base + _BLOCK - 1))
        except OSError:
            claim.close()
            return False
        _claims[base] = claim.detach()  # it goes with the process, and that is no leak to warn of
    return True
