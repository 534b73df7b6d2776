//! The outside: signals, systemd, the admin port.
