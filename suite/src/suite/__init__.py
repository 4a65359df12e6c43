"""What knows all six services: run in one process, embedded parts, the `darkroom` command, the demo."""
