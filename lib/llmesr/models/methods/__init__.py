"""Methods: one file a method. `models/registry.py` lists them."""
