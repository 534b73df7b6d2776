//! Reads a Rust file as far as the layer test needs: its words without comments and texts, and the paths among them, with
//! `use a::{b, c}` taken apart.
//!
//! It is no parser. What it takes for a path is one in every file that compiles.

/// A word, or one sign, and the line it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// A path of at least one part, such as `crate::flow::Ledger`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    pub parts: Vec<String>,
    pub line: usize,
}

/// The words and signs of a source text. Comments, texts, characters and lifetimes are left out; `::` is one sign.
pub fn tokens(source: &str) -> Vec<Token> {
    let bytes = source.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut line = 1;
    while at < bytes.len() {
        let rest = &source[at..];
        let length = skipped(rest).unwrap_or_else(|| {
            let length = word(rest);
            let text = &rest[..length];
            if !text.trim().is_empty() {
                tokens.push(Token {
                    text: text.into(),
                    line,
                });
            }
            length
        });
        line += rest[..length].matches('\n').count();
        at += length;
    }
    tokens
}

/// The length of the comment, text, character or lifetime that `rest` begins with.
fn skipped(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        rest.strip_prefix(prefix).is_some_and(|rest| {
            rest.starts_with('"') || (prefix.ends_with('r') && raw_hashes(rest).is_some())
        })
    });
    if let Some(prefix) = prefix {
        let text = &rest[prefix.len()..];
        return Some(
            prefix.len()
                + if prefix.ends_with('r') {
                    raw_text(text)
                } else {
                    quoted(text, '"')
                },
        );
    }
    let character = rest.strip_prefix('b').unwrap_or(rest);
    let quote = character.strip_prefix('\'')?;
    let mut chars = quote.chars();
    let (first, second) = (chars.next()?, chars.next()?);
    // 'a' and '\n' are characters; 'a without a closing quote is a lifetime.
    if first == '\\' || second == '\'' {
        return Some(rest.len() - character.len() + quoted(character, '\''));
    }
    (character.len() == rest.len()).then(|| 1 + word(quote))
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn raw_hashes(rest: &str) -> Option<usize> {
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    rest[hashes..].starts_with('"').then_some(hashes)
}

fn raw_text(text: &str) -> usize {
    let hashes = raw_hashes(text).unwrap_or(0);
    let end = format!("\"{}", "#".repeat(hashes));
    let begin = hashes + 1;
    text[begin..]
        .find(&end)
        .map_or(text.len(), |found| begin + found + end.len())
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        if !escaped && character == quote {
            return at + 1;
        }
        escaped = !escaped && character == '\\';
    }
    text.len()
}

fn word(rest: &str) -> usize {
    if rest.starts_with("::") {
        return 2;
    }
    let word = rest
        .find(|character: char| !character.is_alphanumeric() && character != '_')
        .unwrap_or(rest.len());
    word.max(rest.chars().next().map_or(0, char::len_utf8))
}

/// Takes out what is compiled for tests only: each item after an attribute `cfg` that asks for `test`.
pub fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if let Some(end) = test_attribute(&tokens[at..]) {
            at = item_end(&tokens, at + end);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

fn test_attribute(tokens: &[Token]) -> Option<usize> {
    let begins = tokens
        .iter()
        .take(3)
        .map(|token| token.text.as_str())
        .eq(["#", "[", "cfg"]);
    let end = begins.then(|| tokens.iter().position(|token| token.text == "]"))??;
    let asks = |word: &str| tokens[..end].iter().any(|token| token.text == word);
    (asks("test") && !asks("not")).then_some(end + 1)
}

/// Where the item that begins at `at` ends: behind its `;`, or its block.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    let mut depth = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" if depth == 1 => return at,
            "}" | ")" | "]" => depth -= 1,
            ";" if depth == 0 => return at,
            _ => {}
        }
    }
    at
}

/// Every path: of two parts or more, or of one in a `use`.
pub fn paths(tokens: &[Token]) -> Vec<Path> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let used = at > 0 && tokens[at - 1].text == "use";
        let begins = is_word(&tokens[at].text) && (used || text(tokens, at + 1) == "::");
        if begins {
            at = tree(tokens, at, &[], &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Takes the path or `use` tree at `at` apart and gives where it ends.
fn tree(tokens: &[Token], mut at: usize, before: &[String], found: &mut Vec<Path>) -> usize {
    let mut parts = before.to_vec();
    let line = tokens.get(at).map_or(0, |token| token.line);
    while is_word(text(tokens, at)) {
        parts.push(tokens[at].text.clone());
        at += 1;
        if text(tokens, at) != "::" {
            break;
        }
        at += 1;
        if text(tokens, at) == "{" {
            at += 1;
            while at < tokens.len() && text(tokens, at) != "}" {
                let end = tree(tokens, at, &parts, found);
                // A comma, `as NAME` or `*`, which add nothing to the path.
                at = end.max(at + 1);
                if text(tokens, end) == "as" {
                    at = end + 2;
                }
            }
            return at + 1;
        }
    }
    if parts.len() > before.len() {
        found.push(Path { parts, line });
    }
    at
}

fn text(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| &token.text)
}

fn is_word(text: &str) -> bool {
    text.starts_with(|character: char| character.is_alphabetic() || character == '_')
}
