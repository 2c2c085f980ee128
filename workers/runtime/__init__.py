"""What carries a fold: the bus (Kafka, or a log in memory), tasks, supervision, health and metrics."""
