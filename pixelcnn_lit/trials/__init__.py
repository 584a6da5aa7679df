"""What a sweep runs and compares."""
