"""Strict fakes of every seam, for the tests of proxybench and of whoever extends it."""
