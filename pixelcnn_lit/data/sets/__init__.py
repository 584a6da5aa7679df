"""Sets that come with the package: digits, coloured MNIST and fields of known entropy."""
