"""Real PostgreSQL and real Kafka from Python packages, no container engine needed."""
