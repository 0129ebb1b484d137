"""proxybench measures what Kubernetes Service proxying costs, mode by mode."""

__version__ = "2.0.0.dev0"
"""The first version of CHANGELOG.md, ``.dev0`` until it has a date; the reference proxier has its own (``refproxy``)."""
