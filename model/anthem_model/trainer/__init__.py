"""Training: the loop with its schedule, losses, validation and resuming, and the fit of query sizes after it."""
