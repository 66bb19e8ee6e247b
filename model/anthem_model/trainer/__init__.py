"""The training loop: losses, schedule, validation, resuming and query sizes."""
