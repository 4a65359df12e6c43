"""Everything about generation that can be configured."""

from datetime import timedelta
from typing import Literal

from pydantic import Field, SecretStr, model_validator

from common.events.tasks import Kind
from common.settings import PORTS, SECRET_BYTES_MIN, ServiceSettings, service_config
from generation.domain import Fairness, Limits, Rank


class GenerationSettings(ServiceSettings):
    """GENERATION_...; defaults as in the list of defaults."""

    model_config = service_config("GENERATION_")

    port: int = Field(default=PORTS["generation"], ge=0, le=65535)

    provider: Literal["local", "instant", "n8n"] = "local"
    """Who makes things. `instant` makes tiny fixed results for benches and has to be asked for by name.

    `n8n` has workflows make the pictures; songs stay local."""
    worker: bool = True
    """Whether `serve` also works, or only takes asks."""
    picture_slots: int = Field(default=0, ge=0)
    """Pictures made at once; 0 is one per core."""
    song_slots: int = Field(default=0, ge=0)
    """Songs made at once; 0 is one per core."""
    n8n_url: str = ""
    """The address before a webhook's name, such as https://n8n.example.com/webhook."""
    n8n_secret: SecretStr = SecretStr("")
    """Sent to the webhook, and taken from workflows that call back, in the header X-Darkroom-Secret."""
    n8n_wait_seconds: float = Field(default=30, gt=0)
    n8n_slots: int = Field(default=16, ge=1)
    """Webhooks called at once; a task that waits for its workflow holds no slot."""
    n8n_silence_seconds: float = Field(default=240, gt=0)
    """After so long without a call back a task's place among `queue_concurrency` is free for another. Half of `picture_start_seconds` where that is less:
    nothing that waits fails only because workflows before it never call back."""
    callback_secret: SecretStr = SecretStr("")
    """What signed calls back are signed with."""
    callback_url: str = ""
    """Where workflows reach us; our public address when empty."""
    callback_window_seconds: float = Field(default=300, gt=0)
    """How far a signed call's clock may be from ours."""
    callback_kept_days: float = Field(default=7, gt=0)
    """How long the bytes of a call back are kept."""
    instant_batch_max: int = Field(default=256, ge=1, le=2048)

    create_flushers: int = Field(default=1, ge=1, le=8)
    """Batches of asks under way at once. With more than one, what a user may have waiting is counted a batch too late at most."""

    lease_seconds: float = Field(default=60, gt=0)
    heartbeat_seconds: float = Field(default=15, gt=0)
    idle_poll_seconds: float = Field(default=2, gt=0)
    upkeep_seconds: float = Field(default=10, gt=0)
    upkeep_batch_max: int = Field(default=500, ge=1)

    attempts_max: int = Field(default=3, ge=1)
    back_off_seconds: float = Field(default=5, ge=0)
    """After the first failed attempt; doubled after each further one."""
    poll_seconds: float = Field(default=5, gt=0)
    """How soon a provider that took a job is asked; grows to `poll_seconds_max`."""
    poll_seconds_max: float = Field(default=30, gt=0)
    acceptance_seconds: float = Field(default=60, ge=0)
    """How long a provider may take until a job it accepted can be looked up."""

    picture_start_seconds: float = Field(default=600, gt=0)
    picture_total_seconds: float = Field(default=1200, gt=0)
    song_start_seconds: float = Field(default=600, gt=0)
    song_total_seconds: float = Field(default=1800, gt=0)

    hold_margin_seconds: float = Field(default=900, ge=0)
    """How much longer than its task a hold lives."""
    hold_age_seconds_max: float = Field(default=30, gt=0)
    """No task is written on an older hold; billing gives up holds without a task after 60 s."""
    holds_call_seconds: float = Field(default=5, gt=0)
    works_call_seconds: float = Field(default=2, gt=0)
    work_flags_seconds: float = Field(default=0.25, gt=0)
    """How long a reader of an ended task waits for works to say what is favourite and public."""
    person_seconds: float = Field(default=0.5, gt=0)
    """How long an answer with a name in it waits for identity; without its answer the name is empty."""

    waiting_tasks_per_user_max: int = Field(default=50, ge=1)
    waiting_tasks_per_member_max: int = Field(default=100, ge=1)
    waiting_tasks_per_admin_max: int = Field(default=1000, ge=1)
    running_tasks_per_user_max: int = Field(default=3, ge=1)
    """How many tasks of one user run at once, pictures and songs apart, where they take their time."""
    running_tasks_per_member_max: int = Field(default=6, ge=1)
    running_tasks_per_admin_max: int = Field(default=20, ge=1)
    member_handicap_seconds: float = Field(default=60, ge=0)
    """A member who waited so long goes before an admin who comes now."""
    user_handicap_seconds: float = Field(default=120, ge=0)
    """The same for everybody else; who waited longer than the difference goes before a member."""

    progress_seconds: float = Field(default=0.5, gt=0)
    """Progress of one task is told at most once in this time."""
    scenes_kept_seconds: float = Field(default=5, ge=0)
    queue_stats_kept_seconds: float = Field(default=1, ge=0)
    photo_bytes_max: int = Field(default=10 * 1024 * 1024, ge=1)
    """Of one picture in a data URL, decoded."""

    @model_validator(mode="after")
    def _is_reachable(self) -> "GenerationSettings":
        if self.provider == "n8n":
            if not self.n8n_url.startswith(("http://", "https://")):
                raise ValueError("provider n8n needs GENERATION_N8N_URL, the address before a webhook's name")
            if not (self.n8n_secret.get_secret_value() or self.callback_secret.get_secret_value()):
                raise ValueError("provider n8n needs GENERATION_N8N_SECRET or GENERATION_CALLBACK_SECRET, else nobody could call back")
        for name, secret in (("GENERATION_N8N_SECRET", self.n8n_secret), ("GENERATION_CALLBACK_SECRET", self.callback_secret)):
            if 0 < len(secret.get_secret_value().encode()) < SECRET_BYTES_MIN:
                raise ValueError(f"{name} is shorter than {SECRET_BYTES_MIN} bytes")
        return self

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.lease_seconds)

    @property
    def silence(self) -> timedelta:
        """How long a provider that calls back may be silent until the place is another's."""
        return timedelta(seconds=min(self.n8n_silence_seconds, self.picture_start_seconds / 2))

    def limits_of(self, kind: Kind) -> Limits:
        """How long a task of this kind may wait and live."""
        if kind == "song":
            return Limits(start=timedelta(seconds=self.song_start_seconds), total=timedelta(seconds=self.song_total_seconds))
        return Limits(start=timedelta(seconds=self.picture_start_seconds), total=timedelta(seconds=self.picture_total_seconds))

    def waiting_max(self, *, admin: bool) -> int | None:
        """How many tasks one user may have waiting who is no member; no limit in the roomy profile."""
        if self.shared.profile == "roomy":
            return None
        return self.waiting_tasks_per_admin_max if admin else self.waiting_tasks_per_user_max

    @property
    def fairness(self) -> Fairness:
        """Whose turn it is, without limits in the roomy profile."""
        running_max: dict[Rank, int | None] = {
            "admin": self.running_tasks_per_admin_max, "member": self.running_tasks_per_member_max, "normal": self.running_tasks_per_user_max,
        }  # fmt: skip
        return Fairness(
            handicaps={
                "admin": timedelta(0), "member": timedelta(seconds=self.member_handicap_seconds), "normal": timedelta(seconds=self.user_handicap_seconds),
            },
            running_max=dict.fromkeys(running_max) if self.shared.profile == "roomy" else running_max,
        )  # fmt: skip
