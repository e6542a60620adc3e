"""A Flink cluster on this machine: a job manager and task managers, each a process that can be killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyflink

from helpers.paths import ROOT, TESTS
from helpers.ports import free_port

HOME = Path(pyflink.__file__).parent
HEARTBEAT_TIMEOUT_S = 8.0
LIMIT_S = 600.0
"""How long anything may take at most: on a machine with other work a Java takes minutes to start, not seconds."""


class Cluster:
    """``folder`` takes configuration and logs. All addresses are of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._workers = folder, dict[int, subprocess.Popen[bytes]]()
        self._port = free_port()
        self._started = 0
        said: dict[str, str | int] = {
            "jobmanager.rpc.address": "127.0.0.1",
            "jobmanager.rpc.port": free_port(),
            "jobmanager.bind-host": "127.0.0.1",
            "taskmanager.bind-host": "127.0.0.1",
            "taskmanager.host": "127.0.0.1",
            "rest.port": self._port,
            "rest.bind-address": "127.0.0.1",
            "jobmanager.memory.process.size": "900m",
            "taskmanager.memory.process.size": "900m",
            "taskmanager.memory.managed.size": "32m",
            "taskmanager.memory.network.min": "32m",
            "taskmanager.memory.network.max": "32m",
            "taskmanager.numberOfTaskSlots": 1,
            "jobmanager.scheduler": "adaptive",
            "jobmanager.adaptive-scheduler.resource-wait-timeout": "60 s",
            "jobmanager.adaptive-scheduler.executing.resource-stabilization-timeout": "10 s",
            # A rescale that interrupts a worker while its Python starts leaves that worker without Python for good
            # (pemja), so that the job fails there again and again.
            "jobmanager.adaptive-scheduler.executing.cooldown-after-rescaling": "30 s",
            # A worker that is not up by then ends itself for good, and a busy machine takes more than the usual 10 s.
            "pekko.startup-timeout": f"{LIMIT_S:g} s",
            "pekko.ask.timeout": "60 s",
            "heartbeat.interval": 1000,
            "heartbeat.timeout": round(HEARTBEAT_TIMEOUT_S * 1000),
            "python.executable": sys.executable,
            "python.client.executable": sys.executable,
        }
        (java,) = re.findall(r"--add-exports.*", (HOME / "conf" / "config.yaml").read_text())
        said["env.java.opts.all"] = java
        (folder / "config.yaml").write_text("".join(f"{name}: {value}\n" for name, value in said.items()))
        (folder / "log4j-console.properties").write_bytes((HOME / "conf" / "log4j-console.properties").read_bytes())
        (folder / "log4j-cli.properties").write_bytes((HOME / "conf" / "log4j-cli.properties").read_bytes())
        self._env = {
            **os.environ,
            "FLINK_HOME": str(HOME),
            "FLINK_CONF_DIR": str(folder),
            "FLINK_LOG_DIR": str(folder),
            "FLINK_PID_DIR": str(folder),
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, TESTS))),
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
            "OMP_NUM_THREADS": "1",
        }
        self._manager = self._start("jobmanager", "jobmanager")

    def _start(self, script: str, name: str, *more: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.out").open("ab") as out:
            command = ["bash", str(HOME / "bin" / f"{script}.sh"), "start-foreground", *more]
            return subprocess.Popen(command, env=self._env, stdout=out, stderr=out, start_new_session=True)

    def start_worker(self) -> int:
        """One more task manager, with one slot; its number."""
        self._started += 1
        self._workers[self._started] = self._start_worker(self._started)
        return self._started

    def _start_worker(self, number: int) -> subprocess.Popen[bytes]:
        name = f"worker{number}"
        return self._start("taskmanager", name, f"-Dtaskmanager.resource-id={name}")

    def _start_again(self) -> None:
        """Workers that ended by themselves, as whoever runs a cluster does: on a busy machine some do not come up."""
        for number, process in self._workers.items():
            if process.poll() is not None:
                self._workers[number] = self._start_worker(number)

    def kill_worker(self, number: int) -> None:
        """SIGKILL to all of it: nothing is said or written any more."""
        process = self._workers.pop(number)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def run(self, program: Path, arguments: Sequence[str], parallelism: int) -> str:
        """Submits a job that goes on by itself; its number."""
        command = [str(HOME / "bin" / "flink"), "run", "-d", "-p", str(parallelism), "-m", f"127.0.0.1:{self._port}"]
        command += ["-pyexec", sys.executable, "-pyclientexec", sys.executable, "-py", str(program), *arguments]
        done = subprocess.run(["bash", *command], env=self._env, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        if "JobID " not in said:
            raise RuntimeError(f"flink run ended with {done.returncode}: {said[-2000:]}")
        return said.partition("JobID ")[2].split()[0]

    def ask(self, path: str) -> Any:
        """What the cluster answers over HTTP; None while it does not."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=10) as reply:
                return json.load(reply)
        except (OSError, ValueError):
            return None

    def state_of(self, job: str) -> tuple[str, int, int]:
        """(RUNNING, ..., how many run the model side by side, checkpoints completed)."""
        facts, counts = self.ask(f"/jobs/{job}"), self.ask(f"/jobs/{job}/checkpoints")
        if facts is None or counts is None:
            return "UNKNOWN", 0, 0
        running = [v for v in facts["vertices"] if "tcn" in v["name"] and v["status"] == "RUNNING"]
        return facts["state"], running[0]["parallelism"] if running else 0, counts["counts"]["completed"]

    def wait(self, until: Callable[[], bool]) -> float:
        """Seconds until it was so; raises TimeoutError with the end of the logs."""
        began_s = time.monotonic()
        while not until():
            self._start_again()
            if time.monotonic() - began_s > LIMIT_S:
                logs = "".join(file.read_text(errors="replace") for file in self._folder.glob("*.out"))
                causes = sorted(set(re.findall(r"Caused by: .*|Exception: .*", logs)))
                raise TimeoutError(f"not within {LIMIT_S:g} s; the logs say: {causes[:10]}, and end: {logs[-500:]}")
            time.sleep(0.1)
        return time.monotonic() - began_s

    def close(self) -> None:
        for number in list(self._workers):
            self.kill_worker(number)
        os.killpg(self._manager.pid, signal.SIGKILL)
        self._manager.wait()


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    made = Cluster(folder)
    try:
        made.wait(lambda: made.ask("/overview") is not None)
        yield made
    finally:
        made.close()
