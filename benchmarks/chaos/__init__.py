"""`make chaos`: break a real service in many ways, and check after each that nothing was lost."""
