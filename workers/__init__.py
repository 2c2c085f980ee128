"""The nine workers: pure folds, one module each, and the runtime that carries them."""
