"""Where is measured: a target opens a cluster of nodes; the embedded lab is one."""
