"""The pure mathematics of the federation: exact, columnar, without Kafka, asyncio or a clock."""
