"""proxybench measures what Kubernetes Service proxying costs, mode by mode."""

__version__ = "0.1.0"
