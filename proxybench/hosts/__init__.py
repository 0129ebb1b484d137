"""Nodes over SSH: the only place that imports paramiko."""
