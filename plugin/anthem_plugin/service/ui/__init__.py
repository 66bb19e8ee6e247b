"""The page of `anthem serve --ui`: its files, the searches behind it, and its endpoints."""
