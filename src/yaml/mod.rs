//! YAML with positions. The only place that names the YAML crate.
//!
//! The crate's event parser feeds a tree of [`Node`]s that know where they stand; everything that reads the configuration reads this tree, so that
//! every problem of a file can be reported at once, each with its line, an excerpt and a hint. (Deserializing would stop at the first one, and tagged
//! or flattened structs would lose the positions.) Booleans are strict: `yes` and `on` are texts.
//!
//! Invariant: nothing that a secret's key leads to is ever part of a message or an excerpt.

mod expand;
mod nearest;
mod node;
mod parse;
mod problem;

pub use nearest::nearest;
pub use node::{Entry, Node, Span, Spanned, Value};
pub use parse::parse;
pub use problem::{Problem, Source};
