"""The networks: floats in [-1, 1] to parameters per pixel; no levels, no loss, no logging."""
