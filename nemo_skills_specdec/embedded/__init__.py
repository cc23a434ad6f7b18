"""A small, real speculative-decoding engine and server for machines without a GPU.

`launch.start(EmbeddedOptions())` starts it as a child process and gives its URL; `server.make_app` builds the same
server inside this process. Importing this package loads nothing heavy.
"""
