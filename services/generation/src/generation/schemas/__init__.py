"""What HTTP carries in and out, one file per dialect; never stored, never published. The only place that speaks a dialect's words."""
