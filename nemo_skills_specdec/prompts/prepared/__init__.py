"""Folders of prepared prompts: rows and manifest, checks, comparison, and the shapes that other tools read."""
