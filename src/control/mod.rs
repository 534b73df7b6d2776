//! The outside: who tells the daemon what to do, and who is told how it is.
//!
//! - [`signals`]: what the operator and the kernel ask for. The only place that names signal-hook.
//! - [`systemd`]: what the service manager is told, and its watchdog.
//! - [`http`]: the admin port: `/live`, `/ready`, `/metrics`, `/status`.
//!
//! Invariant: nothing here decides. Signals become events for the daemon, and what is shown comes from it through [`http::Admin`].

pub mod http;
pub mod interrupts;
pub mod signals;
pub mod systemd;
