"""Everything configurable about identity, units in names."""

import os
from typing import Literal

from pydantic import Field, SecretStr

from common.settings import VaultSettings, service_config


class IdentitySettings(VaultSettings):
    """Whom to ask, how hard to work, how long to wait."""

    model_config = service_config("IDENTITY_")

    port: int = 8101
    password_threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    password_waiting_max: int = Field(default=256, ge=1, description="sign-ups and logins that wait for a thread")
    balances_seconds: float = Field(default=1.0, gt=0, description="how long an answer waits for billing")
    balances_kept_max: int = Field(default=10_000, ge=1)
    wechat: Literal["", "weixin", "sandbox"] = ""
    """Who turns a mini-program's code into an openid; the sandbox believes every code and never runs outside this machine."""
    wechat_url: str = "https://api.weixin.qq.com"
    wechat_app_id: str = ""
    wechat_app_secret: SecretStr = SecretStr("")
    wechat_wait_seconds: float = Field(default=5, gt=0)
    email_verification: Literal["required", "optional"] = "optional"
    """Whether an address must be verified before its owner can log in; the mail is sent either way."""
    picture_seconds: float = Field(default=20, gt=0, description="how long a sign-up waits for works to keep its picture")
    keys_read_every_seconds: float = Field(default=30, gt=0)
