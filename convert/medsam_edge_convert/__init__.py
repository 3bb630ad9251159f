"""From a checkpoint to a model bundle: `convert.py` is the main path."""

import medsam_edge  # noqa: F401  before OpenVINO, whose telemetry it keeps silent
