"""Stage 20: can a bias be trained away? The study is in `experiments.yaml`, the audit here."""
