"""What carries a fold: the bus (Kafka, or a log in memory), partition tasks, supervision, health and metrics."""
