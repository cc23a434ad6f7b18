"""A real Slurm of one node, from Debian's packages slurm-wlm and munge, in a folder of its own.

Nothing of the machine's own configuration is used or changed. The daemons need root.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "sinfo", "scontrol")

CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmctldPort={controller}
SlurmdPort={node}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1
MinJobAge=300
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing():
    """What stands in the way of starting one here; empty if nothing does."""
    found = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if os.geteuid() != 0:
        found.append("root")
    return found


@contextlib.contextmanager
def single_node_slurm(folder):
    """Yields the environment in which `sbatch` reaches the Slurm, for as long as the block lasts."""
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir()
    # munged refuses folders that others could write to, the folder itself among them.
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    controller, node = _free_ports(2)
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(host=host, folder=folder, controller=controller, node=node))
    environment = {**os.environ, "SLURM_CONF": str(config), "PATH": _path()}
    commands = [
        [
            *("munged", "--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={key}"),
            *(
                f"--pid-file={folder}/munged.pid",
                f"--log-file={folder}/munged.log",
                f"--seed-file={folder}/munged.seed",
            ),
        ],
        ["slurmctld", "-D", "-c"],
        ["slurmd", "-D", "-c"],
    ]
    daemons = []
    try:
        for command in commands:
            with (folder / f"{command[0]}.out").open("wb") as output:
                daemons.append(
                    subprocess.Popen(
                        command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
                    )
                )
            time.sleep(0.5)
        _wait_until_idle(environment, daemons, folder)
        yield environment
    finally:
        _empty(environment)
        for daemon in reversed(daemons):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGTERM)
        for daemon in daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(daemon.pid, signal.SIGKILL)
                daemon.wait(10)


def _wait_until_idle(environment, daemons, folder):
    deadline = time.monotonic() + 60
    while True:
        told = subprocess.run(["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True, check=False)
        if told.stdout.strip() == "idle":
            return
        if time.monotonic() > deadline or any(daemon.poll() is not None for daemon in daemons):
            logs = "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in sorted(folder.glob("*.log")))
            outs = "\n".join(f"{path.name}: {path.read_text()[-500:]}" for path in sorted(folder.glob("*.out")))
            raise AssertionError(f"Slurm is not up ({told.stdout.strip()}{told.stderr.strip()})\n{logs}\n{outs}")
        time.sleep(0.3)


def _empty(environment):
    """A job's own daemon outlives the others unless it has said that the job is over."""
    subprocess.run(["scancel", "--user=root"], env=environment, capture_output=True, check=False, timeout=30)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        told = subprocess.run(["squeue", "-h"], env=environment, capture_output=True, text=True, check=False)
        if not told.stdout.strip():
            return
        time.sleep(0.2)


def _free_ports(count):
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _path():
    """The daemons lie where only root looks."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
