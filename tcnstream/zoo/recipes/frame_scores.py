"""How well frames are told apart: F1 of a decision, area under the ROC curve of a score."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

Flags = npt.NDArray[np.bool_]


def f1(decided: Flags, truth: Flags) -> float:
    """Of ``decided`` (frames,) against ``truth`` (frames,); 0 if neither has any."""
    both = int(decided.sum()) + int(truth.sum())
    return 2 * int((decided & truth).sum()) / both if both else 0.0


def auc(score: npt.ArrayLike, truth: Flags) -> float:
    """The chance that a true frame scores above a false one, a tie counting half (Mann and Whitney's U).

    NaN unless ``truth`` has both kinds.
    """
    true, false = int(truth.sum()), int((~truth).sum())
    if not (true and false):
        return float("nan")
    ranks = rankdata(np.asarray(score, np.float64))
    return float((ranks[truth].sum() - true * (true + 1) / 2) / (true * false))
