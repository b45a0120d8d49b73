"""Models: a method (how items are seen and learned) over a backbone (how a sequence is read)."""
