//! Which records are sent: regular expressions on their bytes. Pure.
//!
//! Expressions are Unicode-aware; `(?-u)` turns that off for bytes that are no UTF-8.

use regex::bytes::Regex;

use super::frame::settings::FilterSettings;

/// The filter of one input.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    include: Option<Regex>,
    exclude: Option<Regex>,
}

impl Filter {
    /// # Errors
    /// When one of the patterns is no regular expression.
    pub fn new(settings: &FilterSettings) -> Result<Self, regex::Error> {
        let compile = |pattern: &Option<String>| pattern.as_deref().map(Regex::new).transpose();
        Ok(Self {
            include: compile(&settings.include)?,
            exclude: compile(&settings.exclude)?,
        })
    }

    /// Whether nothing is ever sorted out.
    pub fn is_off(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }

    /// Whether a record is sent.
    pub fn passes(&self, value: &[u8]) -> bool {
        self.include
            .as_ref()
            .is_none_or(|include| include.is_match(value))
            && !self
                .exclude
                .as_ref()
                .is_some_and(|exclude| exclude.is_match(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_included_and_not_excluded_passes() {
        let filter = |include: Option<&str>, exclude: Option<&str>| {
            Filter::new(&FilterSettings {
                include: include.map(str::to_owned),
                exclude: exclude.map(str::to_owned),
            })
            .unwrap()
        };
        assert!(filter(None, None).is_off());
        let errors = filter(Some("ERROR|WARN"), Some("^#"));
        assert!(errors.passes(b"an ERROR \xff here"));
        assert!(!errors.passes(b"fine") && !errors.passes(b"# WARN"));
        assert!(filter(None, Some("x")).passes(b""));
        assert!(!filter(Some("."), None).passes(b""));
    }
}
