"""Between the columns of the bus and the arrays of the mathematics."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from learning.cells import Members
from learning.micro import Int64
from learning.partial import Sums
from schemas.event import Columns
from schemas.reasons import DropReason
from schemas.rounds import LibrarySums, MemberSums

C = TypeVar("C", bound=Columns)


def members(organisations: Sequence[str], weights: Sequence[int]) -> Members:
    """Return the cohort of a round, in the order in which its columns stand on the bus."""
    _, codes = np.unique(np.array(organisations, dtype=np.str_), return_inverse=True)
    return Members(codes.astype(np.int32), np.array(weights, dtype=np.int64))


def learned(of_members: MemberSums, library: LibrarySums) -> Sums:
    """Return sums as the mathematics takes them."""
    return Sums.of(dict(of_members), dict(library))


def column_sums(sums: Sums) -> MemberSums:
    """Return the sums of the members as columns, in the order of the cohort."""
    return MemberSums(**{name: tuple(column) for name, column in sums.member_lists().items()})


def library_columns(sums: Sums) -> LibrarySums:
    """Return the sums of the federation as integers below 2^63."""
    return LibrarySums(**sums.library_limbs())


def cohort_rows(columns: C, rows: Sequence[int]) -> C:
    """Return the rows that are in the cohort."""
    names = type(columns).model_fields
    return columns.model_copy(
        update={name: tuple(getattr(columns, name)[row] for row in rows) for name in names}
    )


def spread(
    kind: type[C], of_cohort: Mapping[str, Int64 | Sequence[int]], drop_reasons: Sequence[DropReason | None]
) -> C:
    """Return columns with a row for every instance: its own if it is in the cohort, else zeros."""
    columns = {}
    for name in kind.model_fields:
        values = iter(np.asarray(of_cohort[name], dtype=np.int64).tolist())
        columns[name] = tuple(next(values) if reason is None else 0 for reason in drop_reasons)
    return kind(**columns)
