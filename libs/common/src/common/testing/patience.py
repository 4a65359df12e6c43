"""How long tests let a service wait for its database: many of them share two cores, and nothing is away because it is late."""

DATABASE_SECONDS = 20.0


def patient_environment(service: str) -> dict[str, str]:
    """The settings of a service that say so."""
    return {f"{service.upper()}_{what}_SECONDS": str(DATABASE_SECONDS) for what in ("ACQUIRE", "STATEMENT", "LOCK")}
