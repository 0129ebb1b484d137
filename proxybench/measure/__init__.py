"""One module per measurement: what to command, and pure functions from output to samples."""
