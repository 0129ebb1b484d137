"""The reference proxier: a Service proxy control loop of our own, on a node, one data plane per mode."""
