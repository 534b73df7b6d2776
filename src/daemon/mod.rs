//! Running it: the one place that knows every part.
