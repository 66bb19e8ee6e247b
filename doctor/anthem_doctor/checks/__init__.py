"""The checks of `anthem doctor`, one module per subject: pure functions of facts; docs/doctor.md explains each."""
