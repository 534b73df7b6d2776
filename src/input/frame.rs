//! Bytes to lines with positions. Pure.
