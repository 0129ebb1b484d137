"""Programs of Kubernetes' releases: downloaded, verified, built where they cannot be downloaded, and cached."""
