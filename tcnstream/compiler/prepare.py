"""Graph -> Graph: all that is done to a graph as read before its operations are said over frames."""

from __future__ import annotations

from tcnstream.compiler.composites import decomposed
from tcnstream.compiler.merged import unmerge
from tcnstream.compiler.normalise import normalise
from tcnstream.compiler.static import Compute, known
from tcnstream.compiler.unrolled import roll_up
from tcnstream.compiler.validate import validate
from tcnstream.compiler.whiles import has_whiles, inline_whiles
from tcnstream.compiler.window import settle
from tcnstream.tflite.graph import Graph


def prepared(graph: Graph, compute: Compute | None = None) -> Graph:
    """The graph with lengths settled, checked, its loops as one step and its ideas in one form each.

    ``compute``: see ``static.known``.
    """
    sound = known(validate(settle(decomposed(graph))), compute)
    stepped = unmerge(roll_up(inline_whiles(sound) if has_whiles(sound) else sound))
    return normalise(sound if stepped is sound else validate(stepped))
