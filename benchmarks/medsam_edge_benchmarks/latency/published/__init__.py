"""The published inference scripts, restated in PyTorch as the baselines."""
