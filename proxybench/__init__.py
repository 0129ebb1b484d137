"""proxybench measures what Kubernetes Service proxying costs, mode by mode."""

__version__ = "2.0.0.dev0"
"""The newest of CHANGELOG.md, ``.dev0`` until that has a date; the reference proxier has its own (``refproxy``)."""
