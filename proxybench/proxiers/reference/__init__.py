"""Our own Service proxy control loop: one process on a node, four ways to program the kernel."""
