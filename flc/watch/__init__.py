"""A federation in a terminal: the same state model as the page, with keys."""
