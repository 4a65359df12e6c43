"""The one door: routes, streamed proxying, health of the whole."""
