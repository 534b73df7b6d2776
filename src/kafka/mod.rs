//! All of rdkafka lives here.

pub mod settings;
