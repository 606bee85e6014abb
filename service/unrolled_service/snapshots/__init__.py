"""A session as signed bytes, and whose arithmetic continues it."""
