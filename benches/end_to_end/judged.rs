//! Figures beside the bound that each has to keep.

use std::fmt::Write;

pub struct Judged {
    title: String,
    rows: Vec<String>,
}

impl Judged {
    pub fn new(title: &str) -> Self {
        Self {
            title: title.into(),
            rows: Vec::new(),
        }
    }

    /// A figure that may be `most` at most.
    pub fn bound(&mut self, what: &str, figure: f64, unit: &str, most: f64) {
        let verdict = if figure <= most { "kept" } else { "BROKEN" };
        // A third is told as it is meant.
        let most = (most * 100.0).round() / 100.0;
        self.row(format!(
            "{what} | {figure:.2} {unit} | <= {most} {unit} | {verdict}"
        ));
    }

    /// A figure that is told beside the others.
    pub fn told(&mut self, what: &str, figure: f64, unit: &str) {
        self.row(format!("{what} | {figure:.2} {unit} | | "));
    }

    pub fn failed(&mut self, what: &str, why: &str) {
        eprintln!("{}: {what}: failed: {why}", self.title);
        let why = why.lines().next().unwrap_or_default();
        self.row(format!("{what} | failed: {why} | | "));
    }

    fn row(&mut self, row: String) {
        eprintln!("{}: {row}", self.title);
        self.rows.push(row);
    }

    pub fn markdown(&self) -> String {
        let mut text = format!("| {} | figure | bound | |\n|---|---|---|---|\n", self.title);
        for row in &self.rows {
            writeln!(text, "| {row} |").expect("writing to memory succeeds");
        }
        text
    }
}
