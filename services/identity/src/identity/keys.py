"""The keys users' tokens are signed with: made once, sealed in the database, the same for every replica."""

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from common.auth import TokenSigner, make_key, private_pem
from common.db import Database
from common.ids import new_id
from common.vault import Sealed, Vault
from identity import store


class SigningKeys:
    """Signs with the newest key and knows the public halves of all."""

    def __init__(self, db: Database, vault: Vault) -> None:
        self._db = db
        self._vault = vault
        self._signer: TokenSigner | None = None
        self._public: Mapping[str, EllipticCurvePublicKey] = {}
        self._numbers: list[int] = []
        self._jwks: dict[str, Any] = {"keys": []}

    @property
    def signer(self) -> TokenSigner:
        """The newest key's."""
        assert self._signer is not None, "read() comes first"
        return self._signer

    @property
    def jwks(self) -> dict[str, Any]:
        """The public halves, for everybody."""
        return self._jwks

    async def key(self, kid: str) -> EllipticCurvePublicKey | None:
        """The public half of a key, or None; what `common.auth` asks, without going round by HTTP."""
        return self._public.get(kid)

    async def read(self) -> None:
        """Take what is in the database; where nothing is, propose a first key and take whichever replica's became it."""
        found = await self._list()
        if not found:
            await self._propose(number=1)
            found = await self._list()
        if [one.number for one in found] == self._numbers:
            return
        keys = [self._open(one) for one in found]
        signers = [TokenSigner(key) for key in keys]
        self._public = {signer.kid: key.public_key() for signer, key in zip(signers, keys, strict=True)}
        self._jwks = {"keys": [jwk for signer in reversed(signers) for jwk in signer.jwks()["keys"]]}
        self._signer = signers[-1]
        self._numbers = [one.number for one in found]

    async def _list(self) -> list[store.StoredKey]:
        async with self._db.read() as conn:
            return await store.list_signing_keys(conn)

    async def _propose(self, *, number: int) -> None:
        key_id = new_id()
        sealed = self._vault.seal(private_pem(make_key()), owner=key_id)
        async with self._db.transaction() as tx:
            await store.insert_signing_key(tx.conn, store.StoredKey(number, key_id, sealed.content, sealed.key_id), tx.now)

    def _open(self, stored: store.StoredKey) -> EllipticCurvePrivateKey:
        pem = self._vault.open(Sealed(stored.private_sealed, stored.sealed_with), owner=stored.key_id)
        key = load_pem_private_key(pem, None)
        assert isinstance(key, EllipticCurvePrivateKey)
        return key
