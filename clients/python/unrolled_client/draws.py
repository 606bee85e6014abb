"""Random numbers that this side draws, so that a repeated call is the same call."""

import secrets

SEED_BITS = 64
KEY_BYTES = 16


def draw_seed() -> int:
    """Return a seed from 0 to 2^64 - 1."""
    return secrets.randbits(SEED_BITS)


def draw_key() -> str:
    """Return an idempotency key that nobody else draws."""
    return secrets.token_hex(KEY_BYTES)
