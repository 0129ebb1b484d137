"""Run folders, manifests and samples on disk."""
