"""Random numbers that this side draws, so that a repeated call is the same call."""

import secrets

SEED_BITS = 64
KEY_BYTES = 16


def draw_seed() -> int:
    """Return a seed from 0 to 2^64 - 1."""
    return secrets.randbits(SEED_BITS)


def choose_key(given: str | None) -> str:
    """Return the idempotency key that was given, or one that nobody else draws."""
    return secrets.token_hex(KEY_BYTES) if given is None else given
