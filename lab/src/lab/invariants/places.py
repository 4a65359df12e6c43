"""Where the stores are, and how what is wrong in them is said."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from common.objects import ObjectStore, open_store
from common.settings import SettingsError

SERVICES = ("identity", "works", "generation", "billing", "notify")
NAMED_MAX = 5


@dataclass(frozen=True)
class Places:
    """Each service's database (its own role may read all of it) and the object store. What is left out is not checked."""

    databases: Mapping[str, str]
    objects: ObjectStore | None = None


def places_of(environment: Mapping[str, str]) -> Places:
    """From what `darkroom status -o env` prints. Raises ValueError for objects that cannot be read from here."""
    databases = {service: environment[name] for service in SERVICES if (name := f"{service.upper()}_DATABASE_URL") in environment}
    url = environment.get("DARKROOM_OBJECTS_URL")
    keys = [environment.get(f"DARKROOM_OBJECTS_{name}_KEY", "") for name in ("ACCESS", "SECRET")]
    try:
        return Places(databases, open_store(url, *keys) if url else None)
    except SettingsError as error:
        raise ValueError(f"objects at {url} cannot be read from here: {error}") from error


def say(what: str, which: Iterable[object]) -> list[str]:
    """One sentence about these, or none when there are none."""
    named = [str(each) for each in which]
    if not named:
        return []
    more = f" and {len(named) - NAMED_MAX} more" if len(named) > NAMED_MAX else ""
    return [f"{what}: {', '.join(named[:NAMED_MAX])}{more}"]
