//! Where inputs resume.
