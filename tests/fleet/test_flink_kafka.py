"""A job from a topic to a topic: a real broker, Flink's own connector, transactions, the rows of the keyed operator."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.installed import need_program
from helpers.kafka import broker, connector_jars
from helpers.patients import RATE_HZ, expected, identity, messages

pytest.importorskip("pyflink", reason="the extra flink is not installed")

LIMIT_S = 600.0

JOB = """
model = "ecg"
rate_hz = {rate_hz}
units = "mV"
idle_s = 40
jars = {jars}
[source]
kind = "kafka"
servers = "{servers}"
topic = "samples"
[sink]
kind = "kafka"
servers = "{servers}"
topic = "rows"
[checkpoints]
path = "file://{folder}/checkpoints"
interval_s = 2
"""


def test_a_job_from_topic_to_topic_gives_the_rows_of_the_keyed_operator_once(tmp_path: Path) -> None:
    need_program("java", "openjdk-17-jre-headless")
    jars = json.dumps([str(jar) for jar in connector_jars()])
    with broker(tmp_path, ("samples", "rows")) as servers:
        from confluent_kafka import Consumer, Producer

        producer = Producer({"bootstrap.servers": servers})
        for file in range(2):
            for key, seq, samples in messages(file):
                message = json.dumps({"key": key, "seq": seq, "samples": samples.tolist()})
                producer.produce("samples", message.encode(), key=key.encode())
        assert producer.flush(60) == 0
        job = tmp_path / "job.toml"
        job.write_text(JOB.format(rate_hz=RATE_HZ, jars=jars, servers=servers, folder=tmp_path))
        command = [sys.executable, "-m", "tcnstream.fleet.flink", str(job)]
        with (tmp_path / "job.log").open("wb") as log:
            running = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            settings = {"bootstrap.servers": servers, "group.id": "test", "auto.offset.reset": "earliest"}
            consumer = Consumer({**settings, "isolation.level": "read_committed"})
            consumer.subscribe(["rows"])
            rows, wanted, until_s = [], expected(), time.monotonic() + LIMIT_S
            while len(rows) < len(wanted) and time.monotonic() < until_s and running.poll() is None:
                message = consumer.poll(1)
                if message is not None and message.error() is None:
                    rows.append(json.loads(message.value()))
            late = consumer.poll(5)  # what comes twice comes with the next checkpoint
            consumer.close()
            assert running.poll() is None, (tmp_path / "job.log").read_text()[-2000:]
        finally:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
    assert sorted(rows, key=identity) == wanted
    assert late is None or late.error() is not None
