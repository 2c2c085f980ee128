"""Who may do what on a real broker, and how one signs in."""
