"""The oracle: everything that follows from the log, computed a second time and held against what is there.

It is slow, exact and independent: fractions and dictionaries, no code of ``learning`` or ``workers``. What
depended on time or on the order between topics (who was alive, which registration judged a report, when a
deadline passed) stands in the events as a decision and is taken as given; everything else is recomputed.
"""
