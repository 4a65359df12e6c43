"""Object keys become links here, and nowhere before."""

from dataclasses import dataclass
from datetime import datetime

from common.messages import Lang
from common.objects import UrlSigner


@dataclass(frozen=True, slots=True)
class Rendering:
    """For whom and when an answer is rendered."""

    signer: UrlSigner
    now: datetime
    lang: Lang

    def link(self, key: str) -> str:
        """A link for the owner."""
        return self.signer.sign(key, now=self.now)

    def public_link(self, key: str) -> str:
        """A link for anybody."""
        return self.signer.sign(key, now=self.now, owner=False)
