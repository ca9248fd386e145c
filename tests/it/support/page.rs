//! A parser for the text format. It follows the specification and shares no code with the exporter.

use std::collections::BTreeMap;

/// A sample: name, labels, value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// All samples of an exposition.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub samples: Vec<Sample>,
    /// The `# TYPE` of each metric family.
    pub types: BTreeMap<String, String>,
}

impl Page {
    /// Parses an exposition. Fails the test if it violates the format.
    pub fn read(text: &str) -> Self {
        assert!(
            text.ends_with('\n'),
            "the last line does not end in a newline"
        );
        let mut page = Self::default();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                let before = page.types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{name} has two TYPE lines");
            } else if !line.starts_with('#') {
                page.samples.push(sample(line));
            }
        }
        page
    }

    /// Returns the samples with this name and at least these labels.
    pub fn find(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        self.samples
            .iter()
            .filter(|sample| sample.name == name)
            .filter(|sample| {
                labels.iter().all(|(name, value)| {
                    sample.labels.get(*name).map(String::as_str) == Some(value)
                })
            })
            .collect()
    }

    /// Returns the value of the only sample with these labels, `None` if there is no such sample.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let found = self.find(name, labels);
        assert!(
            found.len() < 2,
            "{name} {labels:?} matches more than one series"
        );
        found.first().map(|sample| sample.value)
    }

    /// Returns the status that is 1 for an integration.
    pub fn status(&self, arn: &str) -> Option<String> {
        let rows = self.find("aws_glue_integration_status", &[("integration_arn", arn)]);
        if rows.is_empty() {
            return None;
        }
        assert_eq!(rows.len(), 8, "{arn} needs a sample for each status");
        let mut current = rows.iter().filter(|row| row.value == 1.0);
        let status = current.next().expect("one status is current");
        assert!(
            current.next().is_none(),
            "two statuses of {arn} are current"
        );
        Some(status.labels["status"].clone())
    }
}

fn sample(line: &str) -> Sample {
    let mut characters = line.chars().peekable();
    let mut name = String::new();
    while let Some(character) = characters.next_if(|c| *c != '{' && *c != ' ') {
        name.push(character);
    }
    let mut labels = BTreeMap::new();
    if characters.next_if_eq(&'{').is_some() {
        while characters.peek() != Some(&'}') {
            let mut label = String::new();
            while let Some(character) = characters.next_if(|c| *c != '=') {
                label.push(character);
            }
            assert_eq!(
                (characters.next(), characters.next()),
                (Some('='), Some('"')),
                "{line}"
            );
            let mut value = String::new();
            loop {
                match characters.next().expect("the label's value ends") {
                    '"' => break,
                    '\\' => value.push(match characters.next() {
                        Some('n') => '\n',
                        Some('\\') => '\\',
                        Some('"') => '"',
                        other => panic!("invalid escape {other:?} in {line}"),
                    }),
                    plain => value.push(plain),
                }
            }
            let before = labels.insert(label, value);
            assert_eq!(before, None, "duplicate label in {line}");
            characters.next_if_eq(&',');
        }
        characters.next();
    }
    assert_eq!(characters.next(), Some(' '), "{line}");
    let value: String = characters.collect();
    Sample {
        name,
        labels,
        value: value
            .parse()
            .unwrap_or_else(|_| panic!("a value in {line}")),
    }
}
