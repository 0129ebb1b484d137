"""Comparison of runs, verdicts and what CI reads."""
