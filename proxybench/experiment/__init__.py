"""The experiment file: its words, their checks and the matrix they span."""
