//! A line of progress for somebody who watches a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::look::Look;

/// Bytes that are delivered, of the bytes that are known; nothing when nobody watches.
pub struct Progress(Option<ProgressBar>);

/// A bar on standard error.
pub fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    if let Ok(style) =
        ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {msg}")
    {
        bar.set_style(style);
    }
    bar
}

impl Progress {
    pub fn new(bar: Option<ProgressBar>) -> Self {
        Self(bar)
    }

    pub fn is_shown(&self) -> bool {
        self.0.is_some()
    }

    pub fn show(&self, look: &Look) {
        let Some(bar) = &self.0 else { return };
        let (mut known, mut delivered, mut written) = (0, 0, 0);
        for input in look.snapshot().inputs {
            known += input.read.bytes + input.unread_bytes;
            delivered += input.read.bytes - input.in_flight.bytes - input.spooled.bytes;
        }
        for output in &look.outputs {
            written += output.books.entries().written.lines;
        }
        bar.set_length(known);
        bar.set_position(delivered);
        if !look.outputs.is_empty() {
            bar.set_message(format!("{written} records written"));
        }
    }

    pub fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
