"""Stand-ins for what is outside: one process with a face for n8n's webhooks and one for WeChat, well behaved or as bad as a test asks."""

from lab.simulator.application import Simulator, build

__all__ = ["Simulator", "build"]
