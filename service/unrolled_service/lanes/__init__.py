"""Rows that advance together: which they are, how many steps, and the slice."""
