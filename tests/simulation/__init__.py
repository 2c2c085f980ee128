"""The runtime under torture, in one process and in virtual time: seeded schedules, thousands a minute."""
