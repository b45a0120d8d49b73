"""Figures of single lessons."""
