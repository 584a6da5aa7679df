"""From an address to selected, decoded rows."""
