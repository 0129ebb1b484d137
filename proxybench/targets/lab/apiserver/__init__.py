"""The lab's small API server: what a Service proxy lists, watches and writes, and nothing else."""
