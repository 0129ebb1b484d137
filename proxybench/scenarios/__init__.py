"""One module per scenario: what is done, what is watched, and from the answers to samples."""
