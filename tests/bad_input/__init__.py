"""Every class of bad input: what is wrong with it, and the reason that it is refused for."""
