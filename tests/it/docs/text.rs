//! Links, headings and sentences of the pages.

use glue_integration_exporter::exposition;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

const MAX_WORDS_OF_SENTENCE: usize = 35;
const MAX_LINES_OF_README: usize = 250;
const MAX_WORDS_OF_README: usize = 2_300;

struct Page {
    path: PathBuf,
    text: String,
}

/// Returns the README, the other pages of the root directory, and those under `docs`.
fn pages() -> Vec<Page> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directories = [".", "docs", "docs/install"].map(|it| root.join(it));
    let entries = directories.iter().flat_map(|it| fs::read_dir(it).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut pages: Vec<Page> = paths
        .filter(|path| path.extension().is_some_and(|it| it == "md"))
        .map(|path| Page {
            text: fs::read_to_string(&path).unwrap(),
            path,
        })
        .collect();
    pages.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(pages.len() > 20, "{}", pages.len());
    pages
}

/// Returns the lines outside of code blocks and comments.
fn prose(text: &str) -> Vec<&str> {
    let mut in_code = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
            lines.push("");
        } else if !in_code && !line.starts_with("<!--") {
            lines.push(line);
        }
    }
    lines
}

/// Returns the anchors of the headings, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let headings = prose(text).into_iter();
    let headings = headings.filter_map(|line| {
        let title = line.trim_start_matches('#');
        (title.len() < line.len()).then_some(title.trim())
    });
    let anchors = headings.map(|title| {
        let title = title.to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c })
            .collect::<String>()
    });
    anchors
        .map(|anchor| {
            let earlier = seen.entry(anchor.clone()).or_default();
            *earlier += 1;
            match *earlier {
                1 => anchor,
                count => format!("{anchor}-{}", count - 1),
            }
        })
        .collect()
}

/// Returns the targets of the links, outside of inline code.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text).join("\n");
    let outside_code: String = prose.split('`').step_by(2).collect();
    let targets = outside_code.split("](").skip(1);
    let targets = targets.map(|rest| rest.split(')').next().unwrap_or_default().to_owned());
    targets.collect()
}

#[test]
fn relative_links_and_anchors_exist() {
    let mut broken = Vec::new();
    for page in pages() {
        for link in links(&page.text) {
            if link.starts_with("https://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => page.path.clone(),
                file => page.path.parent().unwrap().join(file),
            };
            let exists = target.exists()
                && (anchor.is_empty() || {
                    let text = fs::read_to_string(&target).unwrap();
                    anchors(&text).iter().any(|it| it == anchor)
                });
            if !exists {
                broken.push(format!("{}: {link}", page.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Returns the sentences: those of a paragraph, of a list item and of a cell of a table. A block of code ends one too.
fn sentences(text: &str) -> Vec<String> {
    let mut texts = vec![String::new()];
    for line in prose(text) {
        let line = line.trim();
        let item = ["- ", "* ", "> "]
            .iter()
            .find_map(|mark| line.strip_prefix(mark));
        let number = line
            .split_once(". ")
            .filter(|(number, _)| number.parse::<u8>().is_ok());
        if line.is_empty() || line.starts_with('#') {
            texts.push(String::new());
        } else if line.starts_with('|') {
            texts.extend(line.split('|').map(str::to_owned));
            texts.push(String::new());
        } else if let Some(item) = item.or(number.map(|(_, item)| item)) {
            texts.push(format!("{item} "));
        } else if let Some(last) = texts.last_mut() {
            *last += line;
            last.push(' ');
        }
    }
    let ends = [". ", "? ", "! "];
    let mut sentences = Vec::new();
    for text in texts {
        let mut rest = text.as_str();
        while let Some(end) = ends.iter().filter_map(|end| rest.find(end)).min() {
            sentences.push(rest[..=end].trim().to_owned());
            rest = &rest[end + 2..];
        }
        sentences.push(rest.trim().to_owned());
    }
    sentences
}

fn words(text: &str) -> usize {
    let words = text.split_whitespace();
    words
        .filter(|word| word.chars().any(char::is_alphanumeric))
        .count()
}

/// With `--nocapture` it prints the words and the longest sentences of each page.
#[test]
fn sentences_are_short() {
    let mut long = Vec::new();
    for page in pages() {
        let mut sentences = sentences(&page.text);
        sentences.sort_by_key(|sentence| std::cmp::Reverse(words(sentence)));
        let name = page.path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
        let name = name.display();
        let total = words(&prose(&page.text).join("\n"));
        eprintln!("{name}: {total} words");
        for sentence in sentences.iter().take(10) {
            eprintln!("  {}: {sentence}", words(sentence));
        }
        let too_long = sentences
            .iter()
            .filter(|it| words(it) > MAX_WORDS_OF_SENTENCE);
        long.extend(too_long.map(|sentence| format!("{name}: {sentence}")));
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

/// Metrics, and the recording rules that are shipped.
#[test]
fn pages_name_metrics_that_exist() {
    let rules = ["alerts.yaml", "freshness.yaml"];
    let rules = rules.map(|file| fs::read_to_string(format!("deploy/prometheus/{file}")).unwrap());
    let exists = |name: &str| {
        let suffixes = ["_bucket", "_count", "_sum"];
        let base = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
        let mut metrics = exposition::metrics().into_iter();
        metrics.any(|(metric, _)| metric.name == name || Some(metric.name) == base)
            || rules
                .iter()
                .any(|rules| rules.contains(&format!("record: {name}\n")))
    };
    let mut unknown = Vec::new();
    for page in pages() {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let names = page.text.split(|c| !is_part(c));
        let names = names.filter(|name| {
            ["aws_glue_integration_", "glue_integration_exporter_"]
                .iter()
                .any(|prefix| {
                    name.strip_prefix(prefix)
                        .is_some_and(|rest| !rest.is_empty())
                })
        });
        let names = names.filter(|name| !exists(name));
        unknown.extend(names.map(|name| format!("{}: {name}", page.path.display())));
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}

#[test]
fn readme_is_short() {
    let readme = fs::read_to_string("README.md").unwrap();
    assert!(readme.lines().count() <= MAX_LINES_OF_README);
    let all = readme.split_whitespace().count();
    assert!(all <= MAX_WORDS_OF_README, "{all} words");
}
