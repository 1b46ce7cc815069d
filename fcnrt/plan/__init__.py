"""What to compute, as data that can be printed: pure Python, no tensors."""
