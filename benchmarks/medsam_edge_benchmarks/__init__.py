"""Latency and accuracy suites."""
