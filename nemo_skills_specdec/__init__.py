"""Measures speculative decoding on a live inference server: acceptance, speed, and how sure one may be."""

__version__ = "0.1.0"
