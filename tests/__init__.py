import medsam_edge  # noqa: F401  before a test imports OpenVINO, whose telemetry it keeps silent
