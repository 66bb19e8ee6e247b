"""The checks of `anthem doctor`, one module per subject: pure functions from facts to findings."""
