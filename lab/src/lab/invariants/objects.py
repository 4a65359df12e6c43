"""The store's promise: what a row names is there, and its bytes are those that its name says."""

import hashlib
import re

import asyncpg

from common.errors import FileNotFound
from common.objects import ObjectStore
from lab.invariants.places import say

_SHA256_OF_KEY = re.compile(r"([0-9a-f]{64})\.[a-z0-9]+$")


async def check_objects(objects: ObjectStore, generation: asyncpg.Connection | None, works: asyncpg.Connection | None) -> list[str]:
    """Every delivered item, cover and upload; sizes where a row knows them."""
    named: dict[str, int | None] = {}
    if generation is not None:
        named |= {row["key"]: row["size_bytes"] for row in await generation.fetch("SELECT key, size_bytes FROM item WHERE state = 'delivered'")}
        named |= {row["cover_key"]: None for row in await generation.fetch("SELECT cover_key FROM item WHERE cover_key IS NOT NULL")}
    if works is not None:
        named |= {row["key"]: row["size_bytes"] for row in await works.fetch("SELECT key, size_bytes FROM file")}
    missing, wrong = [], []
    for key, size_bytes in named.items():
        try:
            body = await objects.read(key)
        except FileNotFound:
            missing.append(key)
            continue
        said = _SHA256_OF_KEY.search(key)
        if said is None or said[1] != hashlib.sha256(body).hexdigest() or size_bytes not in (None, len(body)):
            wrong.append(key)
    return say("objects that are missing", missing) + say("objects that are not what their key says", wrong)
