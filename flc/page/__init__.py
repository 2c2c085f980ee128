"""The live page of a federation: read-only, one more consumer, nothing loaded from elsewhere."""
