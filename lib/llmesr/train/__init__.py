"""Stage 04: the training loop, its losses and objectives. It knows nothing of the list of methods."""
