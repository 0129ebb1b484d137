"""What a Service proxy must do for a Service: a registry of properties, each with a judgement of what was seen."""
