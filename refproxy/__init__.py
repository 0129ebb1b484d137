"""The reference proxier: a Service proxy control loop of our own, on a node, one data plane per mode."""

__version__ = "0.1.0"
"""Part of every number's key: to be raised with each change that may move a number."""
