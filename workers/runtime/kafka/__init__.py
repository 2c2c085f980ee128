"""The bus on Apache Kafka, through aiokafka. One module a concept; only ``KafkaBus`` is for others."""

from workers.runtime.kafka.bus import KafkaBus

__all__ = ["KafkaBus"]
