"""Everything configurable about works."""

import os
import tempfile
from datetime import timedelta
from pathlib import Path

from pydantic import Field

from common.settings import ServiceSettings, service_config
from works.domain import StorageTerms


def _spool() -> Path:
    return Path(tempfile.gettempdir()) / f"darkroom-works-{os.getuid()}"


class WorksSettings(ServiceSettings):
    """Read from WORKS_*."""

    model_config = service_config("WORKS_")

    port: int = 8102
    spool_folder: Path = Field(default_factory=_spool)
    """Where uploads wait to be decoded; emptied of what is older than an hour at each start."""
    upload_bytes_max: int = Field(default=50 * 1024**2, ge=1024)
    """What no operator's `max_upload_size` exceeds."""
    storage_bytes_max: int = Field(default=20 * 1024**3, ge=1024)
    """What one user may keep in uploads."""
    incoming_max: int = Field(default=100, ge=1)
    """Uploads that one user announced, to put them into the store themselves, and did not complete."""
    incoming_seconds: int = Field(default=900, ge=10, le=3600)
    """How long such an upload may take."""
    unsaved_wait_seconds: int = Field(default=24 * 3600, ge=600)
    """After that, bytes that never got a row are removed."""
    deleted_wait_seconds: int = Field(default=2 * 3600, ge=0)
    """How long the bytes of a deleted upload stay, and those of a photo that came inside a task: longer than any task runs and any link lives."""
    loose_sweep_seconds: float = Field(default=60, gt=0)
    public_works_kept_seconds: float = Field(default=5, ge=0)
    """How old a public work may be that others than its owner are shown, should the word of a change be missed. 0: always read."""
    public_works_kept_max: int = Field(default=4096, ge=1)
    numbers_kept_seconds: float = Field(default=5, ge=0)
    """How old the operators' numbers of all works may be."""
    plays_sweep_seconds: float = Field(default=300, gt=0)
    tags_sweep_seconds: float = Field(default=60, gt=0)
    thumbnail_side_px: int = Field(default=400, ge=16, le=2000)
    picture_pixels_max: int = Field(default=40_000_000, ge=1)
    picture_side_max: int = Field(default=12_000, ge=1)
    picture_memory_bytes_max: int = Field(default=1024**3, ge=256 * 1024**2)
    picture_cpu_seconds_max: int = Field(default=20, ge=1)
    picture_wait_seconds: float = Field(default=60, gt=0)
    picture_idle_seconds: float = Field(default=60, gt=0)
    picture_processes: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    pictures_waiting_max: int = Field(default=64, ge=1)

    @property
    def storage(self) -> StorageTerms:
        """What commands need to know of these."""
        return StorageTerms(
            bytes_max=self.storage_bytes_max,
            incoming_max=self.incoming_max,
            unsaved_wait=timedelta(seconds=self.unsaved_wait_seconds),
            deleted_wait=timedelta(seconds=self.deleted_wait_seconds),
            incoming_wait=timedelta(seconds=2 * self.incoming_seconds),
        )
