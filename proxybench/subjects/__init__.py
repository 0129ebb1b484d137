"""What is under test: one driver per kind of Service proxy."""
