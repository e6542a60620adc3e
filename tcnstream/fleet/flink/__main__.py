"""``python -m tcnstream.fleet.flink JOB.toml``."""

import sys

from tcnstream.fleet.flink.job import main

sys.exit(main())
