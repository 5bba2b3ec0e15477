"""The engine of clean: the rules over a batch, and the passes over all batches of an attempt."""
