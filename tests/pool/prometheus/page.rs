//! A strict parser for a page of metrics.

use std::collections::BTreeMap;

pub type Labels = BTreeMap<String, String>;

/// The content of a page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The families and their types.
    pub types: BTreeMap<String, String>,
    /// The series, by name and labels.
    pub series: BTreeMap<(String, Labels), f64>,
}

impl Page {
    /// # Panics
    /// Panics if the page is malformed.
    pub fn read(text: &str) -> Self {
        let mut page = Page::default();
        for line in text.lines() {
            let Some(comment) = line.strip_prefix("# ") else {
                let (name, labels, value) = sample(line);
                let twice = page.series.insert((name, labels), value);
                assert_eq!(twice, None, "{line} is repeated");
                continue;
            };
            if let Some((name, kind)) = comment
                .strip_prefix("TYPE ")
                .and_then(|t| t.split_once(' '))
            {
                let twice = page.types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(twice, None, "{name} is repeated");
            }
        }
        page
    }

    /// The series with these labels and the pool's name.
    ///
    /// # Panics
    /// Panics if there is none; so does [`count`](Self::count).
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let is_it = |of: &Labels| {
            let others = of.iter().filter(|(name, _)| *name != POOL);
            others
                .map(|(name, value)| (&**name, &**value))
                .eq(labels.iter().copied())
        };
        let mut series = self.series.iter();
        let found = series.find(|((of, with), _)| of == name && is_it(with));
        *found
            .unwrap_or_else(|| panic!("no {name} {labels:?}: {self:#?}"))
            .1
    }

    /// The value as an integer.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let value = self.value(name, labels);
        assert_eq!(value.fract(), 0.0, "{name}");
        value as u64
    }

    /// Panics if a histogram's buckets do not add up.
    pub fn assert_adds_up(&self) {
        let mut bounds = BTreeMap::<_, Vec<(f64, f64)>>::new();
        for ((name, labels), &value) in &self.series {
            if let Some(histogram) = name.strip_suffix("_bucket") {
                let mut labels = labels.clone();
                let bound = labels.remove("le").expect("a bound").parse();
                let all = bounds.entry((histogram.to_owned(), labels)).or_default();
                all.push((bound.expect("a number"), value));
            }
        }
        assert!(!bounds.is_empty());
        for ((histogram, labels), mut buckets) in bounds {
            buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
            assert!(buckets.is_sorted_by_key(|bucket| bucket.1), "{buckets:?}");
            let last = buckets.last().copied();
            let count = self.series[&(format!("{histogram}_count"), labels.clone())];
            assert_eq!(last, Some((f64::INFINITY, count)), "{histogram} {labels:?}");
            let sum = self.series[&(format!("{histogram}_sum"), labels)];
            assert!(at_least(&buckets) <= sum, "{histogram} {sum} {buckets:?}");
        }
    }

    /// Panics if a counter decreased since `before`.
    pub fn assert_follows(&self, before: &Self) {
        let grows = ["_total", "_bucket", "_sum", "_count"];
        for ((name, labels), &value) in &before.series {
            if name != COUNT && grows.iter().any(|suffix| name.ends_with(suffix)) {
                let now = self.series.get(&(name.clone(), labels.clone()));
                assert!(
                    now >= Some(&value),
                    "{name} {labels:?}: {value}, then {now:?}"
                );
            }
        }
    }
}

pub const POOL: &str = "db_client_connection_pool_name";
/// The gauge whose name looks like a histogram's.
pub const COUNT: &str = "db_client_connection_count";

/// Name, labels and value of a line.
fn sample(line: &str) -> (String, Labels, f64) {
    let (name, mut rest) = line.split_once('{').expect("every series has labels");
    let mut labels = Labels::new();
    loop {
        let (label, value) = rest.split_once("=\"").expect("a label's value");
        let mut chars = value.char_indices();
        let mut text = String::new();
        let end = loop {
            match chars.next().expect("a value that ends") {
                (at, '"') => break at,
                (_, '\\') => text.push(match chars.next().expect("an escaped letter").1 {
                    'n' => '\n',
                    c @ ('\\' | '"') => c,
                    c => panic!("{c} is not escaped: {line}"),
                }),
                (_, c) => text.push(c),
            }
        };
        assert_eq!(labels.insert(label.to_owned(), text), None, "{line}");
        match value[end + 1..].strip_prefix(',') {
            Some(more) => rest = more,
            None => {
                let value = value[end + 1..].strip_prefix("} ").expect("a value");
                // Prometheus treats an empty label as absent.
                labels.retain(|_, value| !value.is_empty());
                return (name.to_owned(), labels, value.parse().expect("a number"));
            }
        }
    }
}

/// The least sum that the buckets allow: each value is above the bound of the previous bucket.
fn at_least(buckets: &[(f64, f64)]) -> f64 {
    let pairs = buckets.windows(2);
    pairs.map(|pair| pair[0].0 * (pair[1].1 - pair[0].1)).sum()
}
