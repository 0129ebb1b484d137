"""What runs on a node: the standard library only, Python 3.8 or newer."""
