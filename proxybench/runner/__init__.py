"""Walks the matrix of an experiment over a cluster."""
