"""Latency and accuracy suites."""

import medsam_edge  # noqa: F401  before OpenVINO, whose telemetry it keeps silent
