"""A draft tree as text and as an SVG picture."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from nemo_skills_specdec.embedded.draft_tree import DraftTree
from nemo_skills_specdec.shown import plain

_COLUMN, _ROW, _MARGIN = 22, 54, 30


def tree_text(tree: DraftTree, probabilities: Sequence[float], *, most: int = 40) -> str:
    """The tree as lines, a node each: its rank and its probability.

    Args:
        most: nodes drawn; of a bigger tree the likeliest, with the number of those left out below each.
    """
    shown = set(sorted(range(tree.size + 1), key=lambda node: (-probabilities[node], node))[: most + 1])
    below = [0] * (tree.size + 1)
    for node in range(tree.size, 0, -1):
        below[tree.parents[node - 1]] += below[node] + (node not in shown)
    children, ranks = tree.children, tree.ranks
    lines = ["root"]
    # Node, what stands before its line, what stands before those of its children.
    open_nodes: list[tuple[int, str, str]] = []

    def push(node: int, indent: str) -> None:
        visible = [child for child in children[node] if child in shown]
        hidden = sum(1 + below[child] for child in children[node] if child not in shown)
        if hidden:
            open_nodes.append((-hidden, f"{indent}└─ ", ""))
        for child in reversed(visible):
            last = child == visible[-1] and not hidden
            open_nodes.append((child, f"{indent}{'└─' if last else '├─'} ", indent + ("   " if last else "│  ")))

    push(0, "")
    while open_nodes:
        node, before, indent = open_nodes.pop()
        if node < 0:
            lines.append(f"{before}... {-node} more")
            continue
        lines.append(f"{before}{ranks[node]}  {probabilities[node]:.3f}")
        push(node, indent)
    return "\n".join(lines)


def tree_svg(tree: DraftTree, probabilities: Sequence[float], *, title: str) -> str:
    """The tree as a picture: a level a row, the darker the likelier, path and probability as tooltips."""
    places = _places(tree)
    depths, paths = tree.depths, [(), *tree.paths]
    width = max(places) * _COLUMN + 2 * _MARGIN
    width, shift = max(width, 320.0), (max(320.0 - width, 0.0)) / 2
    height = tree.depth * _ROW + 2 * _MARGIN + 24
    points = [
        (shift + _MARGIN + place * _COLUMN, _MARGIN + 24 + depth * _ROW)
        for place, depth in zip(places, depths, strict=True)
    ]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" '
        f'height="{height}" font-family="sans-serif" font-size="12">',
        f"<title>{escape(plain(title))}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="{width / 2:.0f}" y="20" text-anchor="middle" fill="#222222">{escape(plain(title))}</text>',
    ]
    for node, parent in enumerate(tree.parents, start=1):
        (x1, y1), (x2, y2) = points[parent], points[node]
        thickness = 0.6 + 3.4 * probabilities[node]
        parts.append(
            f'<line x1="{x1:.1f}" y1="{y1}" x2="{x2:.1f}" y2="{y2}" stroke="#8c9aa8" stroke-width="{thickness:.2f}"/>'
        )
    for node, (x, y) in enumerate(points):
        name = "root" if node == 0 else ", ".join(map(str, paths[node]))
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y}" r="7" fill="{_shade(probabilities[node])}" stroke="#33475b">'
            f"<title>{name}: {probabilities[node]:.4f}</title></circle>"
        )
    return "\n".join([*parts, "</svg>", ""])


def _places(tree: DraftTree) -> list[float]:
    """Columns: leaves side by side from left to right, every other node in the middle above its children."""
    children = tree.children
    places = [0.0] * (tree.size + 1)
    order, stack = [], [0]
    while stack:
        node = stack.pop()
        order.append(node)
        stack += reversed(children[node])
    column = 0
    for node in order:
        if not children[node]:
            places[node] = column
            column += 1
    for node in reversed(order):
        if children[node]:
            places[node] = (places[children[node][0]] + places[children[node][-1]]) / 2
    return places


def _shade(probability: float) -> str:
    """From white to deep blue; the square root, since most nodes of a big tree are unlikely."""
    share = max(0.0, min(1.0, probability)) ** 0.5
    red, green, blue = (round(255 + (dark - 255) * share) for dark in (11, 83, 148))
    return f"#{red:02x}{green:02x}{blue:02x}"
