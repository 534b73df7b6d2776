//! All of rdkafka lives here. Inputs and outputs do not know it: they see batches, receipts and pipes.
//!
//! Into Kafka: `route` (topic, key and partition of each record) -> `lane` (what waits for one partition) -> `native::Flight` (what
//! librdkafka holds) -> `producer` (the thread that drives them; with `transaction`, when lines and positions are one). Out of Kafka: `consumer`, `rebalance`, `commit`.

pub mod admin;
pub mod cluster;
pub mod commit;
pub mod console;
pub mod consumer;
pub mod embedded;
pub mod errors;
pub mod lane;
pub mod metadata;
pub mod native;
pub mod partition;
pub mod producer;
pub mod properties;
pub mod rebalance;
pub mod route;
pub mod settings;
pub mod tls_files;
pub mod transaction;
pub mod trouble;
