"""What is drawn and written: plans, masks of given pixels, picture files, the output folder."""
