"""Ready-made configs, which Hydra finds here as a package."""
