"""The environment each service is started with: addresses, secrets, keys, databases. Embedded runs only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from common.auth import make_key, private_pem, read_private_key, service_jwks
from suite.embedded.parts import write_secretly
from suite.embedded.postgres import DatabaseUrls
from suite.home import ENVELOPE, LOOKUP, OPERATOR, Home, sentences
from suite.members import NAMES
from suite.options import Options
from suite.ports import ADMIN_OFFSET, Ports

# Nobody but this machine's own processes wait for an embedded suite to stop.
STOP_SECONDS = {"NOT_READY_SECONDS": "0", "RECORD_SECONDS": "2", "HTTP_DRAIN_SECONDS": "2"}


def make_keys(home: Home) -> Path:
    """A key per service and one for the operator, made once; answers the file with all public halves."""
    jwks = home.keys / "services.jwks.json"
    with sentences(home.folder):
        for name in (*NAMES, OPERATOR):
            if not home.key_path(name).exists():
                write_secretly(home.key_path(name), private_pem(make_key()).decode())
        write_secretly(jwks, service_jwks({name: read_private_key(home.key_path(name)) for name in (*NAMES, OPERATOR)}).decode())
    return jwks


def addresses(ports: Ports) -> dict[str, str]:
    """`<SERVICE>_URL` of each, a comma list where there are replicas."""
    return {f"{name.upper()}_URL": ",".join(f"http://127.0.0.1:{port}" for port in ports.services[name]) for name in NAMES}


def admin_addresses(ports: Ports) -> dict[str, list[str]]:
    return {name: [f"http://127.0.0.1:{port + ADMIN_OFFSET}" for port in ports.services[name]] for name in NAMES}


def shared_environment(home: Home, ports: Ports, options: Options, *, bus_url: str, by_parts: Mapping[str, str]) -> dict[str, str]:
    """What all services must agree on. `by_parts` is said by an embedded S3 server and the simulator, where there are any."""
    made = {
        "DARKROOM_URL": f"http://127.0.0.1:{ports.services['gateway'][0]}",
        "DARKROOM_OBJECTS_URL": f"file://{quote(str(home.objects))}",
        "DARKROOM_FILES_SECRET": home.secret("files"),
        **addresses(ports),
        "IDENTITY_WECHAT": "sandbox",
        "NOTIFY_MAIL_URL": f"file://{quote(str(home.folder / 'mailbox'))}",
        "NOTIFY_MAILBOX_PORT": str(ports.mailbox),
        "IDENTITY_ENVELOPE_SECRET": home.secret(ENVELOPE),
        "IDENTITY_LOOKUP_SECRET": home.secret(LOOKUP),
        "BILLING_ENVELOPE_SECRET": home.secret("billing-envelope"),
        "BILLING_LOOKUP_SECRET": home.secret("billing-lookup"),
    }
    forced = {**by_parts, "DARKROOM_BUS_URL": bus_url, "DARKROOM_SERVICE_JWKS_PATH": str(make_keys(home)), "DARKROOM_PROFILE": options.profile}
    if options.provider is not None:
        forced["GENERATION_PROVIDER"] = options.provider
    # What the caller set (another public address, a provider's key) comes through, what makes the suite one suite does not.
    return {**made, **os.environ, **addresses(ports), **forced}


def environment_of(name: str, replica: int, *, shared: Mapping[str, str], home: Home, ports: Ports, databases: Mapping[str, DatabaseUrls]) -> dict[str, str]:
    """All variables of one service process."""
    prefix = name.upper()
    port = ports.services[name][replica]
    own = {
        f"{prefix}_PORT": str(port),
        f"{prefix}_ADMIN_PORT": str(port + ADMIN_OFFSET),
        f"{prefix}_KEY_PATH": str(home.key_path(name)),
        **{f"{prefix}_{word}": os.environ.get(f"{prefix}_{word}", value) for word, value in STOP_SECONDS.items()},
    }
    if name == "notify" and replica > 0:
        own["NOTIFY_MAILBOX_PORT"] = "0"  # one page for all replicas
    if name in databases:
        own[f"{prefix}_DATABASE_URL"] = databases[name].role_url
        own[f"{prefix}_MIGRATION_DATABASE_URL"] = databases[name].owner_url
    return {**shared, **own}


def public_environment(shared: Mapping[str, str], databases: Mapping[str, DatabaseUrls]) -> dict[str, str]:
    """What `darkroom status -o env` prints, so that any script can join in."""
    mailbox = {"DARKROOM_MAILBOX_URL": f"http://127.0.0.1:{shared['NOTIFY_MAILBOX_PORT']}"}
    names = ["DARKROOM_URL", "DARKROOM_BUS_URL", "DARKROOM_OBJECTS_URL", *(f"{name.upper()}_URL" for name in NAMES)]
    keys = {name: shared[name] for name in ("DARKROOM_OBJECTS_ACCESS_KEY", "DARKROOM_OBJECTS_SECRET_KEY", "DARKROOM_SIMULATOR_URL") if name in shared}
    return {**{name: shared[name] for name in names}, **keys, **mailbox, **{f"{name.upper()}_DATABASE_URL": urls.role_url for name, urls in databases.items()}}
