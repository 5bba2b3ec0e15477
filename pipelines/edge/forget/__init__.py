"""Deletion: documents leave everything that a workspace holds, and cannot land again."""
