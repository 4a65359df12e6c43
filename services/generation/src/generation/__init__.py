"""Gets the asked thing made: scenes, tasks, items, attempts."""
