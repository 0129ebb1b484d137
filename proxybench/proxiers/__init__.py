"""Drivers of Service proxies: one per way in which a control loop runs."""
