"""Callers, a cluster, faults drawn from a seed, and whether one character was wrong."""
