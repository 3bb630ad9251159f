"""Load a model bundle as two callables, an encoder and a decoder."""
