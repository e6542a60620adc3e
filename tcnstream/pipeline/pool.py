"""Many signals through one model, pushed side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, SupportsIndex, Unpack

import numpy as np
import numpy.typing as npt

from tcnstream.errors import StreamError
from tcnstream.model import Model
from tcnstream.opened import open_model
from tcnstream.pipeline.lane import Lane
from tcnstream.pipeline.pipeline import Pipeline, pipeline_of
from tcnstream.pipeline.samples import Frames
from tcnstream.pipeline.setup import PipelineArguments, Setup, sound_seconds
from tcnstream.signal.preprocess import Preprocessor
from tcnstream.signal.segments import Segment
from tcnstream.signal.sources.base import Gap


class PipelinePool:
    """Many signals through one model, side by side: a Pipeline a lane, and one call of the engine for all.

    ``pool[k]`` is lane k's Pipeline, for flush, mark_gap, reset, snapshot and restore of its own; nothing that one lane
    is given reaches another. A lane may pause, ``leave``, and its number be taken again by the next one to ``join``.
    Arguments as for Pipeline.
    """

    def __init__(self, model: Model | str | Path, lanes: int, **arguments: Unpack[PipelineArguments]) -> None:
        self._setup = Setup.of(open_model(model), **arguments)
        self._pool = self._setup.opened.model.open_pool(lanes, self._setup.options)
        self._lanes: dict[int, Lane] = {}
        self._pipelines: dict[int, Pipeline] = {}
        for k in self._pool.lanes:
            self._join(k, self._setup)

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """What copy, deepcopy and pickle ask for: see ``Stream``."""
        raise StreamError(
            "a pool cannot be copied or pickled; make another one and restore() lane by lane what each lane's"
            " snapshot() returns here"
        )

    def __len__(self) -> int:
        return len(self._lanes)

    def __getitem__(self, lane: int) -> Pipeline:
        return self._pipelines[self._known(lane)]

    def _known(self, lane: int) -> int:
        if lane not in self._lanes:
            raise StreamError(f"there is no lane {lane} in the pool; join() makes one")
        return lane

    def __iter__(self) -> Iterator[Pipeline]:
        return (self._pipelines[k] for k in self.lanes)

    @property
    def lanes(self) -> tuple[int, ...]:
        """The numbers of the lanes, in the order in which ``push`` takes their samples."""
        return tuple(sorted(self._lanes))

    def join(self, start_s: float | None = None) -> int:
        """The number of one lane more, at its start; ``start_s`` is the time of its first sample, else the pool's."""
        setup = self._setup if start_s is None else replace(self._setup, start_s=sound_seconds(start_s))
        lane = self._pool.join()
        self._join(lane, setup)
        return lane

    def _join(self, lane: int, setup: Setup) -> None:
        self._lanes[lane] = Lane(setup)
        self._pipelines[lane] = pipeline_of(self._lanes[lane], self._pool[lane])

    def leave(self, lane: int) -> None:
        """Lane ``lane`` is gone, with what it remembered. Raises StreamError if there is no such lane."""
        self[lane].reset()
        self._lanes[lane].is_gone = True
        self._pool.leave(lane)
        del self._lanes[lane], self._pipelines[lane]

    def push(self, samples: Sequence[npt.ArrayLike | Gap | None]) -> list[list[Segment]]:
        """Push ``samples[k]`` into the k-th lane; return the segments of each. None lets a lane pause.

        All samples are checked before any lane moves: StreamError as ``Pipeline.push``, naming the lane.
        """
        lanes = self.lanes
        if len(samples) != len(lanes):
            raise StreamError(f"{len(lanes)} lanes are to be pushed and got {len(samples)}; pass None to pause one")
        given = {k: chunk for k, chunk in zip(lanes, samples, strict=True) if chunk is not None}
        found = self.push_lanes(given)
        return [found.get(k, []) for k in lanes]

    def push_lanes(self, samples: Mapping[int, npt.ArrayLike | Gap]) -> dict[int, list[Segment]]:
        """``push`` of the lanes that are named; all others pause."""
        accepted: dict[int, Frames] = {}
        gaps: dict[int, Gap] = {}
        for k, chunk in samples.items():
            try:
                if isinstance(chunk, Gap):
                    self._lanes[self._known(k)].refuse_if_over("push")
                    gaps[k] = chunk
                else:
                    accepted[k] = self._lanes[self._known(k)].accept(chunk)
            except StreamError as error:
                raise StreamError(f"lane {k}: {error}") from error
        if self._setup.keep_frames:
            for lane in self._lanes.values():
                lane.made = []
        for k in accepted:
            self._lanes[k].move()
        found: dict[int, list[Segment]] = {}
        # Lanes of as many frames go through the engine together.
        for group, frames in self._prepared(accepted):
            found |= zip(group, self._take(group, self._pool.push(frames, group)), strict=True)
        for k in accepted:
            self._lanes[k].is_broken = False
        for k, gap in gaps.items():
            found[k] = self._pipelines[k].mark_gap(gap.frames)
        return found

    def _prepared(self, accepted: Mapping[int, Frames]) -> Iterator[tuple[list[int], Any]]:
        """Lanes that have as many input frames of the model each, with those frames (lanes, n, *frame_shape)."""
        lengths: dict[int, list[int]] = {}
        for k, chunk in accepted.items():
            lengths.setdefault(len(chunk), []).append(k)
        apart: dict[int, tuple[list[int], list[Frames]]] = {}
        for length, numbers in lengths.items():
            lanes = [self._lanes[k] for k in numbers]
            chunks = np.array([accepted[k] for k in numbers])
            frames = Preprocessor.push_together([lane.preprocessor for lane in lanes], chunks)
            if frames is not None:
                for lane in lanes:
                    lane.frames_in += length
                yield numbers, frames.reshape(*frames.shape[:2], *self._setup.frame_shape)
                continue
            for k, lane, chunk in zip(numbers, lanes, chunks, strict=True):
                made = lane.prepare(chunk)
                group = apart.setdefault(len(made), ([], []))
                group[0].append(k)
                group[1].append(made)
        for numbers, each in apart.values():
            yield numbers, np.array(each)

    def _take(self, group: Sequence[int], answers: Sequence[Any]) -> list[list[Segment]]:
        """What the pool returned -> segments of each lane; numbers of all of them in one go."""
        setup, lanes = self._setup, [self._lanes[k] for k in group]
        if not setup.segments or setup.keep_frames or len(group) == 1:
            return [lane.take(answer) for lane, answer in zip(lanes, answers, strict=True)]
        frames = [answer[setup.output] if isinstance(answer, tuple) else answer for answer in answers]
        real = setup.spec.dequantize(np.concatenate(frames))
        real, found, begin = real.reshape(len(real), setup.values), [], 0
        for lane, made in zip(lanes, frames, strict=True):
            assert lane.segmenter is not None
            end = begin + len(made)
            found.append(lane.segmenter.push(real[begin:end]))
            begin = end
        return found

    def flush(self) -> list[list[Segment]]:
        """End every lane that has not ended; the segments that were waiting, per lane."""
        return [[] if self._lanes[k].is_over else self._pipelines[k].flush() for k in self.lanes]

    def reset(self) -> None:
        """Every lane back to its start."""
        for pipeline in self:
            pipeline.reset()
