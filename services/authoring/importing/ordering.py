"""The order in which a bundle's objects are made: what is named comes before what names it."""

from collections.abc import Sequence

from services.authoring.bundles.form import Item, Kind
from services.domain.journey.walks import cycles


def in_order(items: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """The items by kind, audiences after those they are made of; and the audiences that are made of themselves."""
    audiences = [item for item in items if item.kind is Kind.AUDIENCE]
    others = [item for item in items if item.kind is not Kind.AUDIENCE]
    number = {item.ref: i for i, item in enumerate(audiences)}
    out = [[number[one.ref] for one in item.references if one.ref in number] for item in audiences]
    circular = [audiences[node] for cycle in cycles(out) for node in cycle[:1]]
    if circular:
        return [*audiences, *others], circular
    made: list[int] = []
    done: set[int] = set()
    # Depth first, with the recursion in a list: chains of audiences may be as long as the bundle.
    for start in range(len(audiences)):
        stack = [(start, iter(out[start]))] if start not in done else []
        while stack:
            node, onward = stack[-1]
            target = next((one for one in onward if one not in done), None)
            if target is None:
                stack.pop()
                if node not in done:
                    done.add(node)
                    made.append(node)
            else:
                stack.append((target, iter(out[target])))
    return [*(audiences[i] for i in made), *others], []
