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
    organisation = members.organisation[cells.member]
    halves = np.ascontiguousarray(cells.rows["signature"]).view(">u8").reshape(-1, 2).astype(np.uint64)
    order, new = _sorted(halves[:, 0], halves[:, 1], organisation, members.organisations)
    segment = np.cumsum(new) - 1
    start = np.flatnonzero(new)
    row_of_cell = np.empty(len(order), dtype=np.int64)
    row_of_cell[order] = segment
    weights = members.weight[cells.member[order]]
    return Contributors(
        signature=cells.rows["signature"][order[start]],
        start=start,
        weight=np.add.reduceat(weights, start),
        segment=segment,
        weights=weights,
        organisation=organisation[order].astype(np.int64),
        order=order,
        row_of_cell=row_of_cell,
    )


def _sorted(
    head: np.ndarray, tail: np.ndarray, organisation: np.ndarray, organisations: int
) -> tuple[Int64, np.ndarray]:
    """Return the order by signature (its two halves), then organisation, and where a new signature begins.

    The organisation takes the place of the last bits of the first half, so one sort of integers does. If what
    is left of the signatures does not tell them apart, which chance does not bring about, all is sorted by.
    """
    bits = np.uint64(max(1, organisations - 1).bit_length())
    key = (head >> bits << bits) | organisation.astype(np.uint64)
    order = np.argsort(key)
    new = _changes(head[order], tail[order])
    if np.any(new & ~_changes(key[order] >> bits)):
        order = np.lexsort((organisation, tail, head))
        new = _changes(head[order], tail[order])
    return order, new


def _changes(*columns: np.ndarray) -> np.ndarray:
    """Tell of each row whether it differs from the one before it; the first does."""
    new = np.ones(len(columns[0]), dtype=np.bool_)
    new[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return new
