"""Imported once by the fork server, so that every worker is born with numpy, Pillow and the recipes already in memory."""

import os

# One picture or song uses one core; the pool has as many workers as there are cores to give. Read when numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import soundfile  # noqa: F401

import generation.providers.local.child
import generation.providers.local.pictures
import generation.providers.local.songs  # noqa: F401
