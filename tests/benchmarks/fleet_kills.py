"""Workers of a real Flink cluster are killed and added under a running job; every row is compared.

    python -m benchmarks.fleet_kills --times 20        # in tests/, with the extra flink

Each time: the job runs on two workers, one is killed (SIGKILL), the job goes on with one, two are added, it runs on
three; all in thread mode. What comes out in the end must be what one ``Keyed`` gives: nothing lost, twice or changed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from dataclasses import astuple, dataclass
from pathlib import Path

from helpers.flink_cluster import Cluster, cluster

from benchmarks import fleet_job
from tcnstream.fleet import Keyed, Row

PATIENTS, CHUNKS, PER_S = 12, 500, 4.0
"""At this pace the job would end by itself after 25 minutes, which no trial should take."""


@dataclass(frozen=True)
class Outcome:
    """Rows that should be there and are not, that are there twice, or that none should be; seconds to go on again."""

    rows: int
    lost: int
    twice: int
    changed: int
    recovery_s: float

    @property
    def is_exact(self) -> bool:
        return not (self.lost or self.twice or self.changed)


def expected(patients: int, chunks: int) -> set[tuple[object, ...]]:
    keyed, states, rows = Keyed("ecg", rate_hz=fleet_job.RATE_HZ, units="mV"), dict[str, bytes](), list[Row]()
    for number in range(patients * chunks):
        for key, seq, samples in fleet_job.messages(number, patients):
            states[key], made = keyed.step(key, states.get(key), [(seq, samples)])
            rows += made
    for key, state in states.items():
        rows += keyed.end(key, state)[1]
    return {astuple(row) for row in rows}


def trial(on: Cluster, folder: Path, patients: int = PATIENTS, chunks: int = CHUNKS, per_s: float = PER_S) -> Outcome:
    """One job from its start on two workers to its end on three."""
    first, second = on.start_worker(), on.start_worker()
    on.wait(lambda: (on.ask("/overview") or {}).get("slots-total") == 2)
    hurry = folder / "hurry"
    arguments = ["--hurry", hurry, "--patients", patients, "--chunks", chunks, "--per-s", per_s]
    arguments += ["--out", folder / "out", "--checkpoints", folder / "checkpoints"]
    job = on.run(Path(fleet_job.__file__), list(map(str, arguments)), parallelism=3)
    on.wait(lambda: on.state_of(job)[1] == 2 and on.state_of(job)[2] >= 2)
    on.kill_worker(second)
    recovery_s = on.wait(lambda: on.state_of(job)[1] == 1)
    before = on.state_of(job)[2]
    on.wait(lambda: on.state_of(job)[2] > before)
    added = [on.start_worker(), on.start_worker()]
    on.wait(lambda: on.state_of(job)[1] == 3)
    before = on.state_of(job)[2]
    on.wait(lambda: on.state_of(job)[2] > before)
    hurry.touch()
    on.wait(lambda: on.state_of(job)[0] == "FINISHED")
    for worker in (first, *added):
        on.kill_worker(worker)
    files = [file for file in (folder / "out").rglob("*") if file.is_file() and not file.name.startswith(".")]
    made = Counter(tuple(json.loads(line)) for file in files for line in file.read_text().splitlines())
    wanted = expected(patients, chunks)
    return Outcome(
        rows=made.total(),
        lost=len(wanted - made.keys()),
        twice=sum(count - 1 for count in made.values()),
        changed=len(made.keys() - wanted),
        recovery_s=recovery_s,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill and rescale, and compare every row.")
    parser.add_argument("--times", type=int, default=20)
    times = parser.parse_args().times
    wrong = 0
    with tempfile.TemporaryDirectory() as place, cluster(Path(place)) as on:
        for time in range(times):
            with tempfile.TemporaryDirectory() as folder:
                outcome = trial(on, Path(folder))
            wrong += not outcome.is_exact
            print(f"{time + 1:3}: {outcome}", flush=True)
    print(f"{times - wrong} of {times} exact")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
