"""What the Registry's calls do inside their transactions: one file per noun, functions of a connection."""
