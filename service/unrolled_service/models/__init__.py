"""A bundle: what it is, that it proves itself, and what can be asked of it."""
