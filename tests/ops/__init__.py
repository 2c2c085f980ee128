"""Tests of what an operator loads: alert rules, and the dashboard."""
