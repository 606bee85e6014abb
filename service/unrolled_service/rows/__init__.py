"""Calls: their place in the batch, what they are for, and what they tell."""
