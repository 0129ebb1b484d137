"""Locust as a subprocess, and its raw records."""
