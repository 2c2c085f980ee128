"""What the system promises, told as behaviour."""
