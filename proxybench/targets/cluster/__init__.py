"""The user's own cluster: nodes by inventory, API by kubeconfig; observed as it is, switched only when told."""
