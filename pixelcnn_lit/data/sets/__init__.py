"""Data sets that need no hub: digits, causal fields, coloured MNIST."""
