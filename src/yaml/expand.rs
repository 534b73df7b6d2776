//! `${NAME}`, `${NAME:-default}` and `$$` in scalars. Pure: the environment is handed in.
//!
//! Invariant: a `$` that begins none of these stands for itself, so that `^audit-.*$` needs no escape.

/// What is wrong with a reference to the environment, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unexpandable {
    pub message: String,
    pub hint: String,
}

/// Puts the environment into `text`.
///
/// # Errors
/// A variable that is not set and has no default, a `${` without `}`, a name that is none.
pub(super) fn expand(
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<String, Unexpandable> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(next) = after.strip_prefix('$') {
            out.push('$');
            rest = next;
        } else if let Some(inner) = after.strip_prefix('{') {
            let Some(end) = inner.find('}') else {
                return Err(Unexpandable {
                    message: "`${` without its `}`".to_owned(),
                    hint: "a literal dollar sign is written `$$`".to_owned(),
                });
            };
            out.push_str(&value(&inner[..end], environment)?);
            rest = &inner[end + 1..];
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn value(
    inner: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<String, Unexpandable> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !begins_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(Unexpandable {
            message: format!("`${{{inner}}}` names no environment variable"),
            hint: "write `${NAME}` or `${NAME:-default}`; a literal dollar sign is written `$$`"
                .to_owned(),
        });
    }
    // As in a shell: `:-` also replaces an empty value.
    match (environment(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Unexpandable {
            message: format!("the environment variable `{name}` is not set"),
            hint: format!("set it, or give it a default: `${{{name}:-default}}`"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, Unexpandable> {
        expand(text, &|name| match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn variables_and_defaults_are_put_in() {
        assert_eq!(expanded("a-${SET}-b").unwrap(), "a-value-b");
        assert_eq!(expanded("${UNSET:-x}${EMPTY:-y}${EMPTY}").unwrap(), "xy");
        assert_eq!(expanded("${UNSET:-}").unwrap(), "");
    }

    #[test]
    fn a_dollar_sign_alone_stands_for_itself() {
        assert_eq!(expanded("^a.*$").unwrap(), "^a.*$");
        assert_eq!(expanded("$$HOME $HOME").unwrap(), "$HOME $HOME");
        assert_eq!(expanded("$${SET}").unwrap(), "${SET}");
    }

    #[test]
    fn what_cannot_be_put_in_is_an_error() {
        assert!(
            expanded("${UNSET}")
                .unwrap_err()
                .message
                .contains("`UNSET`")
        );
        assert!(expanded("${SET").is_err());
        assert!(expanded("${1}").is_err());
        assert!(expanded("${}").is_err());
    }
}
