//! Markdown tables, and pages of several parts that are measured apart.

use crate::bench_error::BenchError;
use crate::statistics::Spread;
use std::path::Path;

/// A table that grows row by row.
#[derive(Debug)]
pub struct Table(Vec<Vec<String>>);

impl Table {
    /// With these column heads.
    pub fn new<T: Into<String>>(columns: impl IntoIterator<Item = T>) -> Table {
        Table(vec![columns.into_iter().map(Into::into).collect()])
    }

    /// One more row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }

    /// As Markdown; the first column to the left, figures to the right.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (index, row) in self.0.iter().enumerate() {
            text += &format!("| {} |\n", row.join(" | "));
            if index == 0 {
                let rules: Vec<&str> = (0..row.len()).map(|i| if i == 0 { "---" } else { "---:" }).collect();
                text += &format!("| {} |\n", rules.join(" | "));
            }
        }
        text
    }
}

/// `median (low–high)`, or a dash.
pub fn figure(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or("–".into(), |spread| {
        format!("{:.digits$} ({:.digits$}–{:.digits$})", spread.median, spread.low, spread.high)
    })
}

/// Replaces one marked part of a page and leaves the others alone.
pub fn write_section(path: &Path, name: &str, text: &str) -> Result<(), BenchError> {
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->\n"));
    let page =
        std::fs::read_to_string(path).unwrap_or_else(|_| "# Results\n\nWritten by `make bench`.\n".into());
    let section = format!("{begin}\n{}\n{end}", text.trim_end());
    let place = page.find(&begin).zip(page.find(&end));
    let page = match place {
        Some((from, to)) => format!("{}{section}{}", &page[..from], &page[to + end.len()..]),
        None => format!("{}\n\n{section}", page.trim_end()),
    };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(path, page)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_the_others_stay() {
        let directory = std::env::temp_dir().join(format!("pgweir-benches-chart-{}", std::process::id()));
        let path = directory.join("page.md");
        for (name, text) in [("a", "one"), ("b", "two"), ("a", "three")] {
            write_section(&path, name, text).expect("a writable directory");
        }
        let page = std::fs::read_to_string(&path).expect("just written");
        assert!(page.contains("three") && page.contains("two") && !page.contains("one"), "{page}");
        assert!(page.find("three") < page.find("two"), "the order of the parts stays");
        std::fs::remove_dir_all(&directory).expect("just made");
    }
}
