"""Walks the matrix of an experiment over a target: run, worker, step, journal."""
