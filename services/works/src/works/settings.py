"""Everything configurable about works."""

import os
import tempfile
from pathlib import Path

from pydantic import Field

from common.settings import ServiceSettings, service_config


def _spool() -> Path:
    return Path(tempfile.gettempdir()) / f"darkroom-works-{os.getuid()}"


class WorksSettings(ServiceSettings):
    """Read from WORKS_*."""

    model_config = service_config("WORKS_")

    port: int = 8102
    spool_folder: Path = Field(default_factory=_spool)
    """Where uploads wait to be decoded; emptied of what is older than an hour at each start."""
    upload_bytes_max: int = Field(default=10 * 1024**2, ge=1024)
    picture_pixels_max: int = Field(default=40_000_000, ge=1)
    picture_side_max: int = Field(default=12_000, ge=1)
    picture_memory_bytes_max: int = Field(default=1024**3, ge=256 * 1024**2)
    picture_cpu_seconds_max: int = Field(default=20, ge=1)
    picture_wait_seconds: float = Field(default=60, gt=0)
    picture_idle_seconds: float = Field(default=60, gt=0)
    picture_processes: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    pictures_waiting_max: int = Field(default=64, ge=1)
