//! The input `stdin`.
