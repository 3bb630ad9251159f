"""From a model bundle to two callables, an encoder and a decoder."""
