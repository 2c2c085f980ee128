"""The client, on the bus in memory."""
