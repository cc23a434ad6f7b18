#!/usr/bin/env python3
"""`srun` for jobs that were written for containers (pyxis), on a Slurm that has none: each is a plain process instead.

Its view of the file system has the mounts of the container, its `python` is that of the image, and nothing else of the
caller's environment comes along. Images are folders: `<image>/bin` comes first in PATH. Needs root.
"""

import os
import shlex
import sys

TAKEN_AWAY = ("--container-", "--no-container-", "--mpi")
WITH_VALUE = ("--container-image", "--container-mounts", "--container-workdir", "--container-env", "--mpi")
ALONE = ("--overlap", "--unbuffered", "--exclusive")
SRUN = "/usr/bin/srun"
KEPT = ("SLURM", "NEMO", "HF_", "SPECDEC")


def split(words):
    """The words of Slurm's own `srun`, and the values of those of pyxis."""
    own, given = [], {}
    position = 0
    while position < len(words):
        word = words[position]
        if word.startswith(TAKEN_AWAY):
            name, found, value = word.partition("=")
            if not found and name in WITH_VALUE:
                position += 1
                value = words[position]
            given[name] = value
        else:
            own.append(word)
        position += 1
    return own, given


def main():
    own, given = split(sys.argv[1:])
    if "--container-image" not in given:
        os.execv(SRUN, ["srun", *own])
    # srun's options stand before the command; a value may be a word of its own, as in `--output file`.
    start = 0
    while start < len(own) and own[start].startswith("-"):
        start += 1 if "=" in own[start] or own[start] in ALONE else 2
    lines = ["set -e"]
    for mount in filter(None, given.get("--container-mounts", "").split(",")):
        source, target, *_ = mount.split(":")
        lines += [f"mkdir -p {target}", f"mount --bind {source} {target}"]
    if "--container-workdir" in given:
        lines.append(f"cd {given['--container-workdir']}")
    image = given["--container-image"]
    kept = [f"{key}={value}" for key, value in os.environ.items() if key.startswith(KEPT)]
    inside = ["exec", "env", "-i", f"PATH={image}/bin:/usr/bin:/bin", f"HOME={image}", *kept]
    lines.append(shlex.join(inside) + ' "$@"')
    words = ["unshare", "-m", "bash", "-c", "\n".join(lines), "container", *own[start:]]
    os.execv(SRUN, ["srun", *own[:start], *words])


if __name__ == "__main__":
    main()
