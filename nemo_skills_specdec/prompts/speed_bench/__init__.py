"""How SPEED-Bench's rows are built: from the hub's masked rows and the sources that they name."""
