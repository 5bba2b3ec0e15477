"""What the stage train is made of: the learner, and the measures that it takes on its way."""
