//! `{host}`-style templates.
