//! tracing-subscriber, set up for a terminal, for systemd and for machines.
