"""Plain tables for standard output."""

from collections.abc import Sequence


def aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """One line of a table: the first cell at the left of its column, the others at the right of theirs."""
    first, *others = zip(cells, widths, strict=True)
    return "  ".join([f"{first[0]:<{first[1]}}", *(f"{cell:>{width}}" for cell, width in others)])


def confusion_table(emotions: Sequence[str], confusion: Sequence[Sequence[int]]) -> str:
    """Counts by true (down) and predicted (across) emotion, with the recall of each."""
    head = ["true \\ predicted", *emotions, "recall"]
    widths = [max(map(len, (*emotions, head[0]))), *(max(len(name), 5) for name in head[1:])]
    lines = [aligned(head, widths)]
    for i, (name, counts) in enumerate(zip(emotions, confusion, strict=True)):
        recall = f"{counts[i] / sum(counts):.3f}" if sum(counts) else "–"
        lines.append(aligned([name, *map(str, counts), recall], widths))
    return "\n".join(lines)
