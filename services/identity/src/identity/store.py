"""Every SQL statement identity runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from common.ids import UserId
from identity.domain import Credential, Person, Registration

_PERSON = "p.user_id, p.username, p.avatar_key, p.role, p.disabled_at, p.email_verified_at, p.created_at, p.updated_at"


@dataclass(frozen=True, slots=True)
class Known:
    """An address that is taken: by whom, and by which sign-up."""

    person: Person
    request_hash: bytes | None


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A signing key as it lies in the database."""

    number: int
    key_id: UUID
    private_sealed: bytes
    sealed_with: str


async def insert_credentials(conn: asyncpg.Connection, registrations: Sequence[Registration], now: datetime) -> set[UserId]:
    """Take the addresses that are free; answers whose sign-ups got theirs. Sorted, so that two batches never wait for each other in a ring."""
    rows = await conn.fetch(
        """
        INSERT INTO credential (user_id, email_hash, email_sealed, sealed_with, password_hash, request_hash, changed_at)
        SELECT r.user_id, r.email_hash, r.email_sealed, r.sealed_with, r.password_hash, r.request_hash, $7
        FROM unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::text[], $5::text[], $6::bytea[])
            AS r (user_id, email_hash, email_sealed, sealed_with, password_hash, request_hash)
        ORDER BY r.email_hash
        ON CONFLICT DO NOTHING
        RETURNING user_id
        """,
        [one.user_id for one in registrations],
        [one.email_hash for one in registrations],
        [one.email_sealed for one in registrations],
        [one.sealed_with for one in registrations],
        [one.password_hash for one in registrations],
        [one.request_hash for one in registrations],
        now,
    )
    return {UserId(row["user_id"]) for row in rows}


async def insert_people(conn: asyncpg.Connection, registrations: Sequence[Registration], now: datetime) -> None:
    """New accounts, version 1."""
    await conn.execute(
        """
        INSERT INTO person (user_id, username, avatar_key, version, created_at, updated_at)
        SELECT r.user_id, r.username, r.avatar_key, 1, $4, $4 FROM unnest($1::uuid[], $2::text[], $3::text[]) AS r (user_id, username, avatar_key)
        """,
        [one.user_id for one in registrations],
        [one.username for one in registrations],
        [one.avatar_key for one in registrations],
        now,
    )


async def list_known(conn: asyncpg.Connection, email_hashes: Sequence[bytes]) -> dict[bytes, Known]:
    """Who has these addresses, by their hash."""
    rows = await conn.fetch(
        f"SELECT {_PERSON}, c.email_hash, c.request_hash FROM credential c JOIN person p USING (user_id) WHERE c.email_hash = ANY($1::bytea[])",
        list(email_hashes),
    )
    return {row["email_hash"]: Known(_person(row), row["request_hash"]) for row in rows}


async def list_people(conn: asyncpg.Connection, user_ids: Sequence[UserId]) -> dict[UserId, Person]:
    """People by id; unknown ids are absent."""
    rows = await conn.fetch(f"SELECT {_PERSON} FROM person p WHERE p.user_id = ANY($1::uuid[])", list(user_ids))
    return {UserId(row["user_id"]): _person(row) for row in rows}


async def find_login(conn: asyncpg.Connection, email_hash: bytes) -> tuple[Person, Credential] | None:
    """Who logs in with this address, and what they must know."""
    row = await conn.fetchrow(
        f"SELECT {_PERSON}, c.email_sealed, c.sealed_with, c.password_hash FROM credential c JOIN person p USING (user_id) WHERE c.email_hash = $1", email_hash
    )
    if row is None:
        return None
    return _person(row), Credential(UserId(row["user_id"]), row["email_sealed"], row["sealed_with"], row["password_hash"])


async def list_signing_keys(conn: asyncpg.Connection) -> list[StoredKey]:
    """All keys, the one that signs last."""
    rows = await conn.fetch("SELECT number, key_id, private_sealed, sealed_with FROM signing_key ORDER BY number")
    return [StoredKey(row["number"], row["key_id"], row["private_sealed"], row["sealed_with"]) for row in rows]


async def insert_signing_key(conn: asyncpg.Connection, key: StoredKey, now: datetime) -> None:
    """Propose a key under its number; another replica may have been first, and then its key is the one."""
    await conn.execute(
        "INSERT INTO signing_key (number, key_id, private_sealed, sealed_with, created_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        key.number,
        key.key_id,
        key.private_sealed,
        key.sealed_with,
        now,
    )


def _person(row: asyncpg.Record) -> Person:
    return Person(
        user_id=UserId(row["user_id"]),
        username=row["username"],
        avatar_key=row["avatar_key"],
        role=row["role"],
        disabled=row["disabled_at"] is not None,
        email_verified=row["email_verified_at"] is not None,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
