"""Verbs of what stays up."""
