"""The orchestrator's side of a node: talking to its agent, its kernel state, what machine it is."""
