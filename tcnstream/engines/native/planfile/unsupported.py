"""What the core does not have: as the first error that a plan gives, or as all of them."""

from __future__ import annotations

import functools
from collections.abc import Callable

from tcnstream.compiler.plan import Plan
from tcnstream.engines.base import ROUNDINGS
from tcnstream.engines.native.layout.codes import DTYPES, MAX_PORTS
from tcnstream.engines.native.pack import pack, unsupported
from tcnstream.engines.native.unsigned import signed_plan
from tcnstream.engines.signed import unlike_int8
from tcnstream.errors import EngineError


def refuse_unsupported_streams(plan: Plan) -> None:
    """Raises EngineError for more inputs or outputs than the core takes, or of another type."""
    if max(len(plan.inputs), len(plan.outputs)) > MAX_PORTS:
        raise EngineError(
            f"the native engine lacks models of more than {MAX_PORTS} inputs or outputs;"
            ' use engine="interpreter" or engine="reference"'
        )
    for i in (*plan.inputs, *plan.outputs):
        if str(plan.tensors[i].dtype) not in DTYPES:
            raise EngineError(f"the native engine lacks {plan.tensors[i].dtype} streams; use another engine")


def refuse_unlike_int8(plan: Plan) -> None:
    """Raises EngineError for the first use of uint8 that is not int8 with other zero points."""
    for node in plan.nodes:
        if what := unlike_int8(plan, node):
            raise unsupported(node, what)


def unsupported_parts(plan: Plan) -> list[EngineError]:
    """What the core does not have, an error each, in order; empty if the plan can be written."""
    found = []
    checks: list[Callable[[], object]] = [
        functools.partial(refuse_unsupported_streams, plan),
        functools.partial(refuse_unlike_int8, plan),
    ]
    plan = signed_plan(plan)
    checks += [functools.partial(pack, plan, node, ROUNDINGS[0]) for node in plan.nodes]
    for check in checks:
        try:
            check()
        except EngineError as e:
            found.append(e)
    return found
