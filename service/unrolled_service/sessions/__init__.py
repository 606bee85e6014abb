"""Claims on states: their histories, and where the states are."""
