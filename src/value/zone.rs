//! Time zones by their names.

use jiff::tz::TimeZone;

/// The zone called `name`; `local` is the system's.
///
/// # Errors
/// No such zone in the system's database.
pub fn zone(name: &str) -> Result<TimeZone, String> {
    match name {
        "local" => Ok(TimeZone::system()),
        "UTC" => Ok(TimeZone::UTC),
        _ => TimeZone::get(name)
            .map_err(|error| format!("the time zone `{name}` is not known: {error}")),
    }
}

/// The names of the system's database.
pub fn zones() -> Vec<String> {
    jiff::tz::db()
        .available()
        .map(|name| name.to_string())
        .collect()
}
