"""The networks: floats in [-1, 1] to parameters per pixel. They know no levels, loss or logging."""
