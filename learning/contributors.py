"""The cells of a bucket sorted by signature, so that whatever is said of one is a sum of neighbours."""

from dataclasses import dataclass

import numpy as np

from learning.cells import Cells, Members
from learning.micro import Int64


@dataclass(frozen=True, eq=False)
class Contributors:
    """Cells sorted by signature and, within one, by organisation: n cells of S distinct signatures."""

    #: V16[S], the distinct signatures, sorted.
    signature: np.ndarray
    #: Int64[S]: where each signature's cells begin; each has at least one.
    start: Int64
    #: Int64[S]: W, their summed weight.
    weight: Int64
    #: Int64[n]: index of the signature of each cell.
    segment: Int64
    #: Int64[n]: weight of the member behind each cell.
    weights: Int64
    #: Int64[n]: code of its organisation.
    organisation: Int64
    #: Int64[n]: index of each of these cells in the cells' own order.
    order: Int64
    #: Int64[n], in the cells' own order: index of the signature of each cell.
    row_of_cell: Int64

    def sum(self, values: Int64) -> Int64:
        """Return the sum of ``values`` (int64[n], in this order) per signature."""
        sums: Int64 = np.add.reduceat(values, self.start)
        return sums

    def sizes(self) -> Int64:
        """Return the number of cells per signature."""
        return np.diff(self.start, append=len(self.segment))


def side_by_side(cells: Cells, members: Members) -> Contributors:
    """Return the cells sorted; their own order, and the codes of organisations, mean nothing."""
    signature, row_of_cell = _distinct(cells.rows["signature"])
    organisation = members.organisation[cells.member].astype(np.int64)
    # Signature and organisation are small codes now, so both fit into one integer.
    order = np.argsort(row_of_cell * max(1, members.organisations) + organisation)
    segment = row_of_cell[order]
    start = np.flatnonzero(np.diff(segment, prepend=-1))
    weights = members.weight[cells.member[order]]
    return Contributors(
        signature=signature,
        start=start,
        weight=np.add.reduceat(weights, start),
        segment=segment,
        weights=weights,
        organisation=organisation[order],
        order=order,
        row_of_cell=row_of_cell,
    )


def _distinct(signatures: np.ndarray) -> tuple[np.ndarray, Int64]:
    """Return the distinct signatures in the order of their ids, and the index of each among them."""
    halves = np.ascontiguousarray(signatures).view(">u8").reshape(-1, 2)
    head, tail = halves[:, 0].astype(np.uint64), halves[:, 1].astype(np.uint64)
    order = np.argsort(head)
    if _ambiguous(head[order], tail[order]):
        order = np.lexsort((tail, head))
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (head[order][1:] != head[order][:-1]) | (tail[order][1:] != tail[order][:-1])
    row_of_cell = np.empty(len(order), dtype=np.int64)
    row_of_cell[order] = np.cumsum(new) - 1
    return halves[order[new]].reshape(-1).view("V16"), row_of_cell


def _ambiguous(head: np.ndarray, tail: np.ndarray) -> bool:
    """Tell whether 64 bits do not tell all signatures apart: chance does not do that."""
    return bool(np.any((head[1:] == head[:-1]) & (tail[1:] != tail[:-1])))
