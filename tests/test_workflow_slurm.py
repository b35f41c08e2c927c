"""The same workflow through a real SLURM of one node: jobs are queued, grouped, given a GPU where they ask for one."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_workflow import EXPERIMENTS, Project

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
SETTINGS = Path("/etc/slurm/slurm.conf")  # where the steps of a job look
CONFIGURATION = """ClusterName=one
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldPort=16817
SlurmdPort=16818
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu
MinJobAge=3600
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:1
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

pytestmark = pytest.mark.slurm


def _missing() -> str:
    """Why there can be no cluster here."""
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    if absent:
        return f"{', '.join(absent)} not installed (Debian: slurmctld slurmd slurm-client munge)"
    if os.geteuid():
        return "only root can start a node of SLURM"
    return f"{SETTINGS} is there: this machine is part of a cluster" if SETTINGS.exists() else ""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A controller and a node on this machine, with one pretended GPU; stopped and removed at the end."""
    if why := _missing():
        pytest.skip(why)
    folder, host = tmp_path_factory.mktemp("slurm"), socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    for above in (folder, *folder.parents):  # the clients of munge must reach its socket
        above.chmod(above.stat().st_mode | 0o111)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 - 500  # MB
    text = CONFIGURATION.format(host=host, folder=folder, cpus=os.cpu_count(), memory=memory)
    SETTINGS.parent.mkdir(exist_ok=True)
    gpus = SETTINGS.with_name("gres.conf")
    SETTINGS.write_text(text)
    gpus.write_text(f"NodeName={host} Name=gpu File=/dev/null\n")
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    files = [f"--{what}-file={folder}/munge.{what}" for what in ("key", "pid", "log", "seed")]
    try:
        subprocess.run(["munged", "--force", *files, f"--socket={folder}/munge.socket"], check=True)
        for daemon in ("slurmctld", "slurmd"):
            subprocess.run([daemon], check=True)
        _wait_for_node(folder)
        yield folder
    finally:
        for pid in ("slurmd.pid", "slurmctld.pid", "munge.pid"):
            if (folder / pid).exists():
                subprocess.run(["kill", (folder / pid).read_text().strip()], check=False)
        SETTINGS.unlink()
        gpus.unlink()


def _wait_for_node(folder: Path) -> None:
    for _ in range(60):
        done = subprocess.run(["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True, check=False)
        if done.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    pytest.fail("the node does not come up: " + (folder / "slurmctld.log").read_text()[-2000:])


def test_the_default_cohort_runs_on_a_cluster(cluster, tmp_path):
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="pip install -e '.[slurm]' -c requirements.lock")
    project = Project(tmp_path, timeout=3000, python=sys.executable)
    here = ["--slurm-status-command", "squeue", "--slurm-no-account", "--slurm-init-seconds-before-status-checks", "5"]
    done = project.snakemake("--profile", "profiles/slurm", "--max-threads", "2", *here)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    results = tmp_path / "results/simulated"
    assert (results / "report/index.html").exists()
    jobs = subprocess.run(["scontrol", "show", "jobs"], capture_output=True, text=True, check=True).stdout
    states = re.findall(r"JobState=(\w+)", jobs)
    assert len(states) >= len(EXPERIMENTS) + 7 and set(states) == {"COMPLETED"}
    asked = [job for job in jobs.split("\n\n") if "gres/gpu=1" in job or "gpu:1" in job]
    assert [re.search(r"Comment=(\S+)", job).group(1) for job in asked] == ["rule_train_wildcards_simulated_gcn"]
    again = project.snakemake("--profile", "profiles/slurm", *here)
    assert "Nothing to be done" in again.stdout + again.stderr
