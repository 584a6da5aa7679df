"""What is drawn and written: plans, rounds, sheets, masks of given pixels, picture files."""
