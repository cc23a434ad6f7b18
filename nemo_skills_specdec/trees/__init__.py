"""Draft trees: rates by depth and rank, the best tree for them, and what it is worth."""
