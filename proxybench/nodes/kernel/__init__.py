"""What Service proxies leave in a node's kernel: captured before a start, compared after a stop, and put back.

The kernel's state is the harness's business: a proxy that leaves its rules when it ends, as kube-proxy does by
design, spoils no later step, and what it left is on record.
"""
