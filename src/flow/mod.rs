//! What joins a source to a sink: batches, pipes, the budget, ledgers, receipts and the books. No I/O, no Kafka, no files.
