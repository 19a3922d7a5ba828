//! Records that cross an edge: fields, batches, ids, event time, verdicts, orders.
