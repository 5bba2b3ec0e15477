"""What the stage evaluate is made of beside the likelihood of hold-out items."""
