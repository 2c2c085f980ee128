"""The replay: it finds nothing where nothing is wrong, and whatever is."""
