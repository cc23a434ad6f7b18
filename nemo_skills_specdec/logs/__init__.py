"""Acceptance from the log of a vLLM server."""
