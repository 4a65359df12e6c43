"""Statements about people, what proves them, operators and signing keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from common.ids import UserId
from identity.domain import Credential, PeopleFilter, Person, Registration, WechatLogin

person_columns = (
    "p.user_id, p.username, p.avatar_key, p.avatar_link, p.role, p.disabled_at, p.email_verified_at, p.version, p.created_at, p.updated_at, p.revoked_number"
)


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
        f"SELECT {person_columns}, c.email_hash, c.request_hash FROM credential c JOIN person p USING (user_id) WHERE c.email_hash = ANY($1::bytea[])",
        list(email_hashes),
    )
    return {row["email_hash"]: Known(person_of(row), row["request_hash"]) for row in rows}


async def list_people(conn: asyncpg.Connection, user_ids: Sequence[UserId]) -> dict[UserId, Person]:
    """People by id; unknown ids are absent."""
    rows = await conn.fetch(f"SELECT {person_columns} FROM person p WHERE p.user_id = ANY($1::uuid[])", list(user_ids))
    return {UserId(row["user_id"]): person_of(row) for row in rows}


async def find_login(conn: asyncpg.Connection, email_hash: bytes) -> tuple[Person, Credential] | None:
    """Who logs in with this address, and what they must know."""
    row = await conn.fetchrow(
        f"SELECT {person_columns}, c.email_sealed, c.sealed_with, c.password_hash FROM credential c JOIN person p USING (user_id) WHERE c.email_hash = $1",
        email_hash,
    )
    if row is None:
        return None
    return person_of(row), Credential(UserId(row["user_id"]), row["email_sealed"], row["sealed_with"], row["password_hash"])


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


async def insert_wechat(conn: asyncpg.Connection, asks: Sequence[WechatLogin], now: datetime) -> set[UserId]:
    """Take the openids that are new; answers whose logins made an account. Sorted, as sign-ups are."""
    rows = await conn.fetch(
        """
        INSERT INTO wechat_identity (user_id, openid_hash, openid_sealed, sealed_with, created_at)
        SELECT w.user_id, w.openid_hash, w.openid_sealed, w.sealed_with, $5
        FROM unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::text[]) AS w (user_id, openid_hash, openid_sealed, sealed_with) ORDER BY w.openid_hash
        ON CONFLICT DO NOTHING RETURNING user_id
        """,
        [one.user_id for one in asks],
        [one.openid_hash for one in asks],
        [one.openid_sealed for one in asks],
        [one.sealed_with for one in asks],
        now,
    )
    made = {UserId(row["user_id"]) for row in rows}
    new = [one for one in asks if one.user_id in made]
    await conn.execute(
        """
        INSERT INTO person (user_id, username, avatar_link, version, created_at, updated_at)
        SELECT p.user_id, p.username, p.avatar_link, 1, $4, $4 FROM unnest($1::uuid[], $2::text[], $3::text[]) AS p (user_id, username, avatar_link)
        """,
        [one.user_id for one in new],
        [one.username for one in new],
        [one.avatar_link for one in new],
        now,
    )
    return made


async def list_wechat_people(conn: asyncpg.Connection, openid_hashes: Sequence[bytes]) -> dict[bytes, Person]:
    """Who these openids are."""
    rows = await conn.fetch(
        f"SELECT {person_columns}, w.openid_hash FROM wechat_identity w JOIN person p USING (user_id) WHERE w.openid_hash = ANY($1::bytea[])",
        list(openid_hashes),
    )
    return {row["openid_hash"]: person_of(row) for row in rows}


async def list_openids(conn: asyncpg.Connection, user_ids: Sequence[UserId]) -> dict[UserId, tuple[bytes, str]]:
    """The sealed openids of those who have one, with the id of the key that opens them."""
    rows = await conn.fetch("SELECT user_id, openid_sealed, sealed_with FROM wechat_identity WHERE user_id = ANY($1::uuid[])", list(user_ids))
    return {UserId(row["user_id"]): (row["openid_sealed"], row["sealed_with"]) for row in rows}


async def find_admin(conn: asyncpg.Connection, name: str) -> tuple[Person, str] | None:
    """Who logs in as this operator, and the hash of what they must know."""
    row = await conn.fetchrow(f"SELECT {person_columns}, a.password_hash FROM admin_credential a JOIN person p USING (user_id) WHERE a.name = $1", name)
    return (person_of(row), row["password_hash"]) if row is not None else None


async def insert_admin(conn: asyncpg.Connection, user_id: UserId, name: str, password_hash: str, now: datetime) -> bool:
    """An operator's account; False when the name is taken."""
    row = await conn.fetchrow(
        "INSERT INTO admin_credential (user_id, name, password_hash, changed_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING 1",
        user_id, name, password_hash, now,
    )  # fmt: skip
    if row is None:
        return False
    await conn.execute("INSERT INTO person (user_id, username, role, version, created_at, updated_at) VALUES ($1, $2, 'admin', 1, $3, $3)", user_id, name, now)
    return True


async def insert_invitation(conn: asyncpg.Connection, token_hash: bytes, *, created_at: datetime, expires_at: datetime) -> None:
    await conn.execute("INSERT INTO admin_invitation (token_hash, created_at, expires_at) VALUES ($1, $2, $3)", token_hash, created_at, expires_at)


async def use_invitation(conn: asyncpg.Connection, token_hash: bytes, now: datetime) -> bool:
    """Whether it was still good; from now on it is not."""
    row = await conn.fetchrow(
        "UPDATE admin_invitation SET used_at = $2 WHERE token_hash = $1 AND used_at IS NULL AND expires_at > $2 RETURNING 1", token_hash, now
    )
    return row is not None


async def lock_people(conn: asyncpg.Connection, user_ids: Sequence[UserId]) -> dict[UserId, Person]:
    """People to be changed, sorted."""
    rows = await conn.fetch(f"SELECT {person_columns} FROM person p WHERE p.user_id = ANY($1::uuid[]) ORDER BY p.user_id FOR UPDATE", sorted(set(user_ids)))
    return {UserId(row["user_id"]): person_of(row) for row in rows}


async def save_person(conn: asyncpg.Connection, person: Person) -> None:
    """Role, state and version as they are now."""
    await conn.execute(
        """
        UPDATE person SET role = $2, disabled_at = CASE WHEN $3 THEN coalesce(disabled_at, $5) END, version = $4, updated_at = $5 WHERE user_id = $1
        """,
        person.user_id, person.role, person.disabled, person.version, person.updated_at,
    )  # fmt: skip


async def insert_admin_action(
    conn: asyncpg.Connection, *, action_id: UUID, admin_id: UUID, user_id: UUID, before: str, after: str, reason: str, body_hash: bytes, now: datetime
) -> bool:
    """What an operator did; False when this very action was noted before."""
    row = await conn.fetchrow(
        """
        INSERT INTO admin_action (action_id, admin_id, user_id, before, after, reason, body_hash, acted_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT DO NOTHING RETURNING 1
        """,
        action_id, admin_id, user_id, before, after, reason, body_hash, now,
    )  # fmt: skip
    return row is not None


_WANTED = """
    ($1::text IS NULL OR p.username ILIKE '%' || $1 || '%') AND ($2::text IS NULL OR p.role = $2)
    AND ($3::text IS NULL OR (p.disabled_at IS NOT NULL) = ($3 = 'disabled')) AND ($4::uuid IS NULL OR p.user_id = $4)
"""


async def list_filtered(conn: asyncpg.Connection, wanted: PeopleFilter, *, limit: int, offset: int) -> tuple[list[Person], int]:
    """A page of people, the newest first, and how many there are in all."""
    keyword = wanted.keyword.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") if wanted.keyword else None
    chosen = (keyword, wanted.role, wanted.status, wanted.user_id)
    rows = await conn.fetch(
        f"SELECT {person_columns} FROM person p WHERE {_WANTED} ORDER BY p.created_at DESC, p.user_id DESC LIMIT $5 OFFSET $6", *chosen, limit, offset
    )
    total: int = await conn.fetchval(f"SELECT count(*) FROM person p WHERE {_WANTED}", *chosen)
    return [person_of(row) for row in rows], total


async def count_people(conn: asyncpg.Connection, *, today: datetime, active_since: datetime) -> tuple[int, int, int]:
    """Everybody, today's new ones, and those who were seen lately."""
    row = await conn.fetchrow(
        """
        SELECT (SELECT count(*) FROM person), (SELECT count(*) FROM person WHERE created_at >= $1), (SELECT count(*) FROM person WHERE seen_at >= $2)
        """,
        today, active_since,
    )  # fmt: skip
    return (row[0], row[1], row[2])


async def mark_seen(conn: asyncpg.Connection, user_ids: Sequence[UserId], now: datetime) -> None:
    """They were here; kept to the hour, so that a busy person is not a busy row."""
    await conn.execute(
        "UPDATE person SET seen_at = $2 WHERE user_id = ANY($1::uuid[]) AND (seen_at IS NULL OR seen_at < $2::timestamptz - interval '1 hour')",
        list(user_ids),
        now,
    )


def person_of(row: asyncpg.Record) -> Person:
    return Person(
        user_id=UserId(row["user_id"]),
        username=row["username"],
        avatar_key=row["avatar_key"],
        role=row["role"],
        disabled=row["disabled_at"] is not None,
        email_verified=row["email_verified_at"] is not None,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        version=row["version"],
        avatar_link=row["avatar_link"],
        revoked_number=row["revoked_number"],
    )
