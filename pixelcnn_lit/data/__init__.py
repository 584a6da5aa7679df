"""Data modules: from a hub id, a folder or the embedded digits to batches of uint8 levels."""
