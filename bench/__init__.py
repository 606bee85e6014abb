"""Measures the server against roofs of the same run."""
