"""The embedded lab: a small cluster of real kernels on one machine."""
