"""Where mails go: an SMTP server, or a folder of the embedded run that its mailbox page shows."""

import asyncio
from email import policy
from email.headerregistry import Address as MailAddress
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, unquote, urlsplit
from uuid import UUID

from common.clock import Clock
from notify.templates import Mail

SEND_SECONDS = 20
_KEPT_MAX = 200


class MailRefused(Exception):
    """The server will never take this mail: trying again does not help."""


class Mailer(Protocol):
    """Sends one mail. Raises MailRefused for good, OSError or TimeoutError when it may work later."""

    async def send(self, delivery_id: UUID, to: str, mail: Mail) -> None: ...


class SmtpMailer:
    """An SMTP server: `smtp://host:port`, with STARTTLS where offered, or `smtps://`, both with user and password if given."""

    def __init__(self, url: SplitResult, *, sender: str, clock: Clock) -> None:
        self._url, self._sender, self._clock = url, sender, clock

    async def send(self, delivery_id: UUID, to: str, mail: Mail) -> None:
        import aiosmtplib  # slow to import, and the embedded run never needs it

        url = self._url
        message = compose(delivery_id, self._sender, to, mail, self._clock)
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await aiosmtplib.send(
                    message,
                    hostname=url.hostname,
                    port=url.port or (465 if url.scheme == "smtps" else 587),
                    username=unquote(url.username) if url.username else None,
                    password=unquote(url.password) if url.password else None,
                    use_tls=url.scheme == "smtps",
                    timeout=SEND_SECONDS,
                )
        except aiosmtplib.SMTPRecipientsRefused as error:
            if all(refused.code >= 500 for refused in error.recipients):
                raise MailRefused("the server refused the address") from error
            raise OSError("the server refused the address for now") from error
        except aiosmtplib.SMTPResponseException as error:
            if error.code >= 500:
                raise MailRefused(f"the server refused the mail ({error.code})") from error
            raise OSError(f"the server answered {error.code}") from error
        except aiosmtplib.SMTPException as error:
            raise OSError(type(error).__name__) from error


class FolderMailer:
    """Files in a folder, one per mail, named by time; the newest two hundred are kept."""

    def __init__(self, folder: Path, *, sender: str, clock: Clock) -> None:
        self.folder, self._sender, self._clock = folder, sender, clock

    async def send(self, delivery_id: UUID, to: str, mail: Mail) -> None:
        await asyncio.to_thread(self._write, delivery_id, bytes(compose(delivery_id, self._sender, to, mail, self._clock)))

    def _write(self, delivery_id: UUID, content: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        final = self.folder / f"{self._clock.now():%Y%m%dT%H%M%S.%f}-{delivery_id}.eml"
        part = final.with_suffix(".part")
        part.write_bytes(content)
        part.rename(final)
        for old in sorted(self.folder.glob("*.eml"))[:-_KEPT_MAX]:
            old.unlink(missing_ok=True)


def open_mailer(url: str, *, sender: str, clock: Clock) -> Mailer | None:
    """The mailer of an address, None when there is none. Raises ValueError for an address of another kind."""
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme == "file":
        return FolderMailer(Path(unquote(parts.path)), sender=sender, clock=clock)
    if parts.scheme in ("smtp", "smtps") and parts.hostname:
        return SmtpMailer(parts, sender=sender, clock=clock)
    raise ValueError("NOTIFY_MAIL_URL must begin with smtp://, smtps:// or file:///")


def compose(delivery_id: UUID, sender: str, to: str, mail: Mail, clock: Clock) -> EmailMessage:
    """A message whose id is the delivery's, so that one sent twice is known as the same. Raises MailRefused for an address no mail can be written to."""
    message = EmailMessage(policy.default.clone(utf8=not to.isascii()))
    message["From"] = sender
    message["To"] = _mailbox(to)
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(clock.now())
    message["Message-ID"] = f"<{delivery_id}@{sender.rpartition('@')[2].rstrip('>')}>"
    message.set_content(mail.text)
    message.add_alternative(mail.html, subtype="html")
    return message


def _mailbox(address: str) -> MailAddress:
    if not address.isascii():
        # RFC 6531; the parser of whole addresses does not know it.
        local, _, domain = address.rpartition("@")
        return MailAddress(username=local, domain=domain)
    try:
        return MailAddress(addr_spec=address)
    except ValueError as error:
        raise MailRefused("mails know no such address") from error
