//! YAML with positions. The only place that names the YAML crate.
