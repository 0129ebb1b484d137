"""Another mode for a cluster's own kube-proxy, with an undo log that is written before anything is changed."""
