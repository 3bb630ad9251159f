"""The stages of training, each a settings dataclass and a function."""
