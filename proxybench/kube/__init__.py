"""The Kubernetes API: bulk writes, watches, cleanup, and the API server of the lab."""
