//! A reading of `/metrics`.

use std::collections::BTreeMap;

/// One scrape: every series with its value.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Vec<Series>);

#[derive(Clone, Debug)]
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Reads Prometheus' text format; lines that it does not understand are left out.
    ///
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>
    pub fn parse(text: &str) -> Metrics {
        Metrics(text.lines().filter(|line| !line.starts_with('#')).filter_map(series).collect())
    }

    /// The sum over all series of `name` that carry these labels; 0 if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).fold(0.0, |sum, series| sum + series.value)
    }

    /// Is there such a series at all?
    pub fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.matching(name, labels).next().is_some()
    }

    /// The sums by the values of one label.
    pub fn by_label(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for series in self.matching(name, &[]) {
            if let Some(value) = series.labels.get(label) {
                *sums.entry(value.clone()).or_default() += series.value;
            }
        }
        sums
    }

    fn matching(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &Series> {
        self.0.iter().filter(move |series| {
            series.name == name
                && labels
                    .iter()
                    .all(|(label, value)| series.labels.get(*label).is_some_and(|known| known == value))
        })
    }
}

fn series(line: &str) -> Option<Series> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, rest)) = series.split_once('{') else {
        return Some(Series { name: series.into(), labels: BTreeMap::new(), value });
    };
    Some(Series { name: name.into(), labels: labels(rest.strip_suffix('}')?), value })
}

/// `a="x",b="y"`; a value may hold commas and escaped quotes.
fn labels(text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut characters = after.char_indices();
        let mut end = after.len();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => match characters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, escaped)) => value.push(escaped),
                    None => {}
                },
                other => value.push(other),
            }
        }
        labels.insert(name.trim_start_matches(',').to_owned(), value);
        rest = &after[end..];
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_is_summed_by_labels() {
        let text = "# HELP a b\na{t=\"x\",r=\"1,\\\"2\"} 3\na{t=\"x\",r=\"b\"} 4\na{t=\"y\"} 5\nplain 7\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("a", &[("t", "x")]), 7.0);
        assert_eq!(metrics.sum("a", &[("r", "1,\"2")]), 3.0);
        assert_eq!(metrics.sum("plain", &[]), 7.0);
        assert_eq!(metrics.by_label("a", "t")["y"], 5.0);
        assert!(!metrics.has("a", &[("t", "z")]));
    }
}
