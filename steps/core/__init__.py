"""The small vocabulary that every stage shares."""
