"""Rewrites search bodies: pure functions that take the caller's body and return the body to send."""
