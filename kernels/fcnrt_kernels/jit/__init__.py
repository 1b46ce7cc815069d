"""``@triton.jit`` functions alone, one file per op; importing this package needs triton."""
