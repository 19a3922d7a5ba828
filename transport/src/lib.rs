//! Sources, sinks and logs: Kafka, embedded, in memory.
