"""Two kube-proxies side by side in one run, and where in a list of them a number changed."""
