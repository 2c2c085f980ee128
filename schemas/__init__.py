"""The contract: every event on the bus, the topics it travels on, and how it is encoded and signed."""
