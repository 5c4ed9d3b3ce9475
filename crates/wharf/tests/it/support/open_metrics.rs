//! Reads a page of metrics as strictly as its format asks for: OpenMetrics 1.0, or the older text format of Prometheus. Knows
//! nothing of the library that writes the page.

use std::collections::{BTreeMap, BTreeSet};

/// A page of metrics.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// The type of each family.
    pub(crate) families: BTreeMap<String, String>,
    /// Every sample: name and labels as they are written, with the labels sorted.
    samples: BTreeMap<String, f64>,
}

/// How a page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// OpenMetrics 1.0: the page has an end, and a counter's samples have an ending that its family has not.
    OpenMetrics,
    /// Prometheus 0.0.4.
    Plain,
}

impl Page {
    /// Reads a page; panics with the line that breaks a rule.
    pub(crate) fn read(text: &str, format: Format) -> Self {
        let lines = match format {
            Format::OpenMetrics => text.strip_suffix("# EOF\n").expect("the page ends with # EOF"),
            Format::Plain => text,
        };
        let (mut page, mut helped, mut current) = (Self::default(), BTreeSet::new(), String::new());
        for line in lines.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect(line);
                assert!(helped.insert(name.to_owned()), "a second help: {line}");
                assert!(help.ends_with('.') && help.len() > 1, "the help is no sentence: {line}");
                name.clone_into(&mut current);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect(line);
                let has_ending = kind == "counter" && format == Format::Plain;
                assert_eq!(name.ends_with("_total"), has_ending, "{line}");
                assert_eq!(name, current, "the type does not follow its help: {line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                let known = page.families.insert(name.to_owned(), kind.to_owned());
                assert!(known.is_none(), "a second family of this name: {line}");
            } else {
                page.sample(line, &current, format);
            }
        }
        page.check_histograms();
        page
    }

    fn sample(&mut self, line: &str, family: &str, format: Format) {
        let (series, value) = line.rsplit_once(' ').expect(line);
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').expect(line)),
            None => (series, ""),
        };
        let suffix = name
            .strip_prefix(family)
            .unwrap_or_else(|| panic!("not of {family}: {line}"));
        let suffixes: &[&str] = match self.families[family].as_str() {
            "counter" if format == Format::OpenMetrics => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(suffixes.contains(&suffix), "a wrong ending: {line}");
        assert!(value >= 0.0 && value.is_finite(), "{line}");
        let mut labels: Vec<&str> = labels.split("\",").map(|label| label.trim_end_matches('"')).collect();
        for label in labels.iter().filter(|label| !label.is_empty()) {
            let (key, value) = label.split_once("=\"").expect(line);
            assert!(key.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{line}");
            assert!(
                !value.contains(['"', '\\', '\n']),
                "not escaped, or not one of ours: {line}"
            );
        }
        labels.sort_unstable();
        let key = format!("{name}{{{}}}", labels.join(","));
        assert!(
            self.samples.insert(key, value).is_none(),
            "the same series twice: {line}"
        );
    }

    /// Buckets count upwards, and the last one is the count.
    fn check_histograms(&self) {
        let histograms = self.families.iter().filter(|(_, kind)| *kind == "histogram");
        for (name, _) in histograms {
            let counts = self.samples.iter().filter_map(|(key, count)| {
                let labels = key.strip_prefix(&format!("{name}_count{{"))?;
                Some((labels.trim_end_matches('}').to_owned(), *count))
            });
            for (labels, count) in counts {
                let mut buckets: Vec<(f64, f64)> = self
                    .samples
                    .iter()
                    .filter_map(|(key, value)| {
                        let of_bucket = key.strip_prefix(&format!("{name}_bucket{{"))?.trim_end_matches('}');
                        let (end, others): (Vec<_>, Vec<_>) =
                            of_bucket.split(',').partition(|label| label.starts_with("le=\""));
                        let end = end.first()?.trim_start_matches("le=\"");
                        (others.join(",") == labels).then(|| (end.replace("+Inf", "inf").parse().unwrap(), *value))
                    })
                    .collect();
                buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
                assert!(
                    buckets.is_sorted_by_key(|bucket| bucket.1),
                    "{name} {labels}: {buckets:?}"
                );
                assert_eq!(buckets.last(), Some(&(f64::INFINITY, count)), "{name} {labels}");
            }
        }
    }

    /// How many series there are.
    pub(crate) fn len(&self) -> usize {
        self.samples.len()
    }

    /// The sum of the series of this name that have all these labels; 0 where there is none.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}")).collect();
        let is_meant = |key: &str| {
            let series = key
                .split_once('{')
                .map(|(series, labels)| (series, labels.trim_end_matches('}')));
            series.is_some_and(|(series, labels)| {
                series == name && wanted.iter().all(|label| labels.split(',').any(|it| it == label))
            })
        };
        self.samples
            .iter()
            .filter(|(key, _)| is_meant(key))
            .map(|(_, value)| value)
            .sum()
    }
}
