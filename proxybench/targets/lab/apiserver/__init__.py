"""The lab's small API server: what a Service proxy lists, watches and writes, and nothing else."""

from typing import Final

KUBERNETES_VERSION: Final = "v1.37.2"  # what /version says unless it is told otherwise
