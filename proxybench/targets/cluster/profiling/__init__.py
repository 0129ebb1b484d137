"""A cluster's shape, read from its API: how many Services of which kind, and nothing that names one."""
