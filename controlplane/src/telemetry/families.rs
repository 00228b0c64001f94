//! Metrics of several nodes in one text.
//!
//! In: Prometheus texts, each of one node's NIC. Out: one text in which every family stands once, as the format asks, and every
//! series of a named node has that name as the label `node`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Puts texts together.
pub fn together<'t>(texts: impl IntoIterator<Item = (Option<&'t str>, String)>) -> String {
    let mut order: Vec<String> = Vec::new();
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for (node, text) in texts {
        let label = node.map(|node| format!("node=\"{}\"", escaped(node)));
        let mut current = String::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let described = line
                .strip_prefix("# HELP ")
                .or_else(|| line.strip_prefix("# TYPE "));
            if let Some(described) = described {
                current = described.split(' ').next().unwrap_or_default().to_owned();
            }
            let family = families.entry(current.clone()).or_insert_with(|| {
                order.push(current.clone());
                Family::default()
            });
            match described {
                // The first to describe it has described it for all.
                Some(_) if family.series.is_empty() && !family.head.contains(line) => {
                    let _ = writeln!(family.head, "{line}");
                }
                Some(_) => {}
                None => family.add(line, label.as_deref()),
            }
        }
    }
    let whole = order.iter().filter_map(|name| families.get(name));
    whole
        .flat_map(|family| [family.head.as_str(), family.series.as_str()])
        .collect()
}

#[derive(Default)]
struct Family {
    head: String,
    series: String,
}

impl Family {
    fn add(&mut self, line: &str, label: Option<&str>) {
        // Writing to a string cannot fail.
        let _ = match (label, line.find(['{', ' '])) {
            (Some(label), Some(at)) => {
                let (name, rest) = line.split_at(at);
                match rest.strip_prefix('{') {
                    Some(labels) if labels.starts_with('}') => {
                        writeln!(self.series, "{name}{{{label}{labels}")
                    }
                    Some(labels) => writeln!(self.series, "{name}{{{label},{labels}"),
                    None => writeln!(self.series, "{name}{{{label}}}{rest}"),
                }
            }
            _ => writeln!(self.series, "{line}"),
        };
    }
}

/// As the text format wants label values.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "# HELP a First\n# TYPE a counter\na{x=\"1 {\"} 1\na 2\n# HELP b Second\n# TYPE b gauge\nb{} 3\n";

    #[test]
    fn a_family_stands_once_with_the_series_of_all() {
        let two = "# HELP b Second\n# TYPE b gauge\nb 4\n# HELP a First\n# TYPE a counter\na 5\n";
        assert_eq!(
            together([(Some("n\"1"), ONE.to_owned()), (Some("n2"), two.to_owned())]),
            "# HELP a First\n# TYPE a counter\na{node=\"n\\\"1\",x=\"1 {\"} 1\na{node=\"n\\\"1\"} 2\na{node=\"n2\"} 5\n\
             # HELP b Second\n# TYPE b gauge\nb{node=\"n\\\"1\"} 3\nb{node=\"n2\"} 4\n"
        );
    }

    #[test]
    fn alone_nothing_changes() {
        assert_eq!(together([(None, ONE.to_owned())]), ONE);
    }
}
