"""Everything notify can be told by its environment."""

from pydantic import Field, SecretStr

from common.settings import ServiceSettings, service_config


class NotifySettings(ServiceSettings):
    """Settings of notify, `NOTIFY_...`."""

    model_config = service_config("NOTIFY_")

    port: int = 8105
    origins: str = ""
    """Web origins that may open a socket, comma separated; the public address always may, and what sends no Origin (native apps)."""
    auth_seconds: float = 5
    ping_seconds: float = 25
    pong_seconds: float = 60
    send_seconds: float = 5
    frames_waiting_max: int = 256
    frame_bytes_max: int = 64 * 1024
    sockets_per_user_max: int = 20
    frames_per_second_max: int = 50
    progress_every_seconds: float = 0.5
    heads_every_seconds: float = 2
    feed_kept_days: int = 30
    mail_url: SecretStr = SecretStr("")
    """`smtp://user:password@host:port` or `smtps://...`; `file:///folder` writes mails there and shows them on the mailbox page. Empty: mails wait."""
    mail_sender: str = "Darkroom <no-reply@darkroom.example>"
    mails_every_seconds: float = Field(default=2, gt=0)
    mailbox_port: int = 8125
    """The mailbox page of the embedded run; only with a mail_url of a folder, and only on this machine. 0: no page."""
