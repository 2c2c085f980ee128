"""The fault test: real workers on a real Apache Kafka, real kills, and an oracle that recomputes the log.

``uv run python -m tests.faults --seeds 3 --minutes 2``. A *trial* is one seed: federations report, faults
strike by a schedule, everything heals, the workers drain, and eight checks hold what stands on the bus
against the replay. *Controls* are trials of a product that was sabotaged: each must fail.
"""
