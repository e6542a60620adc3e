"""The table of push costs in the README: ``python tests/bench_push.py``.

Prints, for an int8 and a float32 model, the cost of a frame at hop 1, 16 and 160 beside that of running the whole
window again. Not a test: times depend on the machine, only the ratios of one run say something.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tcnstream
from tcnstream.bench import bench

MODELS = Path(__file__).parent / "data" / "models"


def main() -> None:
    names = sys.argv[1:] or [str(MODELS / "nse_lg.i8.tflite"), str(MODELS / "nse_lg.f32.tflite")]
    print("| model | engine | hop (frames) | us per frame | window again, us per frame | ratio |")
    print("|---|---|--:|--:|--:|--:|")
    for name in names:
        for row in bench(tcnstream.load(name)):
            print(
                f"| {Path(name).stem} | {row.engine} | {row.hop_frames} | {row.us_per_frame:.1f} "
                f"| {row.window_us_per_frame:.1f} | {row.times_faster:.1f} |"
            )


if __name__ == "__main__":
    main()
