"""Statements about links sent by mail, requests for them, and the addresses they go to."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from common.ids import UserId
from identity.domain import LINK_AGAIN, Credential, LinkPurpose, MailLink, Person, ResetRequest
from identity.store.people import person_columns, person_of

_LINK = "ref, user_id, purpose, email_hash, lang, requested_at, expires_at, used_at"


async def replace_links(conn: asyncpg.Connection, links: Sequence[MailLink]) -> set[UUID]:
    """Put each in the place of the person's last one for the same purpose, unless that is younger than a minute; answers which were put."""
    rows = await conn.fetch(
        """
        INSERT INTO mail_link AS m (ref, user_id, purpose, email_hash, lang, requested_at, expires_at)
        SELECT n.ref, n.user_id, n.purpose, n.email_hash, n.lang, n.requested_at, n.expires_at
        FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[], $5::text[], $6::timestamptz[], $7::timestamptz[])
            AS n (ref, user_id, purpose, email_hash, lang, requested_at, expires_at) ORDER BY n.user_id, n.purpose
        ON CONFLICT (user_id, purpose) DO UPDATE SET ref = excluded.ref, email_hash = excluded.email_hash, lang = excluded.lang,
            requested_at = excluded.requested_at, expires_at = excluded.expires_at, used_at = NULL
        WHERE m.requested_at <= excluded.requested_at - $8::interval
        RETURNING ref
        """,
        [one.ref for one in links],
        [one.user_id for one in links],
        [one.purpose for one in links],
        [one.email_hash for one in links],
        [one.lang for one in links],
        [one.requested_at for one in links],
        [one.expires_at for one in links],
        LINK_AGAIN,
    )
    return {row["ref"] for row in rows}


async def find_link(conn: asyncpg.Connection, ref: UUID, purpose: LinkPurpose) -> MailLink | None:
    """A link by what names it; none once a newer one took its place."""
    row = await conn.fetchrow(f"SELECT {_LINK} FROM mail_link WHERE ref = $1 AND purpose = $2", ref, purpose)
    return MailLink(**dict(row)) if row is not None else None


async def use_link(conn: asyncpg.Connection, ref: UUID, now: datetime) -> bool:
    """Whether it was still good; from now on it is not."""
    row = await conn.fetchrow("UPDATE mail_link SET used_at = $2 WHERE ref = $1 AND used_at IS NULL AND expires_at > $2 RETURNING 1", ref, now)
    return row is not None


async def find_lang(conn: asyncpg.Connection, user_id: UserId) -> str | None:
    """The language somebody last asked in."""
    found: str | None = await conn.fetchval("SELECT lang FROM mail_link WHERE user_id = $1 ORDER BY requested_at DESC LIMIT 1", user_id)
    return found


async def find_address(conn: asyncpg.Connection, user_id: UserId) -> tuple[Person, Credential] | None:
    """Somebody with an address, and the address, sealed."""
    row = await conn.fetchrow(
        f"SELECT {person_columns}, c.email_sealed, c.sealed_with, c.password_hash FROM credential c JOIN person p USING (user_id) WHERE c.user_id = $1", user_id
    )
    return (person_of(row), Credential(user_id, row["email_sealed"], row["sealed_with"], row["password_hash"])) if row is not None else None


async def save_password(conn: asyncpg.Connection, user_id: UserId, password_hash: str, now: datetime) -> None:
    await conn.execute("UPDATE credential SET password_hash = $2, changed_at = $3 WHERE user_id = $1", user_id, password_hash, now)


async def mark_verified(conn: asyncpg.Connection, user_id: UserId, now: datetime) -> None:
    """The mail at their address is read by them; the first time counts."""
    await conn.execute("UPDATE person SET email_verified_at = $2, updated_at = $2 WHERE user_id = $1 AND email_verified_at IS NULL", user_id, now)


async def insert_reset_request(conn: asyncpg.Connection, request: ResetRequest, now: datetime) -> None:
    await conn.execute(
        "INSERT INTO reset_request (request_id, email_hash, lang, requested_at) VALUES ($1, $2, $3, $4)",
        request.request_id,
        request.email_hash,
        request.lang,
        now,
    )


async def take_reset_requests(conn: asyncpg.Connection, limit: int) -> list[ResetRequest]:
    """The oldest ones, gone with this transaction; another replica takes others."""
    rows = await conn.fetch(
        """
        DELETE FROM reset_request WHERE request_id IN (SELECT request_id FROM reset_request ORDER BY requested_at LIMIT $1 FOR UPDATE SKIP LOCKED)
        RETURNING request_id, email_hash, lang
        """,
        limit,
    )
    return [ResetRequest(row["request_id"], row["email_hash"], row["lang"]) for row in rows]


async def delete_old_links(conn: asyncpg.Connection, *, before: datetime, limit: int) -> int:
    """Links that have long been no good; answers how many."""
    rows = await conn.fetch("DELETE FROM mail_link WHERE ref IN (SELECT ref FROM mail_link WHERE expires_at < $1 LIMIT $2) RETURNING 1", before, limit)
    return len(rows)
