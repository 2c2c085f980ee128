"""The runtime: the bus and what carries a fold."""
