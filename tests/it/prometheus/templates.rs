//! Checks the labels and queries of annotation templates.

use crate::prometheus::queries::{Labels, Series, has};

/// Checks a template of an alert with `labels`.
///
/// # Errors
/// If the template uses a label or metric that does not exist, or is malformed.
pub fn check(template: &str, labels: &Labels, series: &Series) -> Result<(), String> {
    // For each open action the labels that `.Labels` has in it.
    let mut open: Vec<Labels> = Vec::new();
    let mut rest = template;
    while let Some((_, action_and_rest)) = rest.split_once("{{") {
        let (action, after) = action_and_rest
            .split_once("}}")
            .ok_or_else(|| format!("an action does not end: {rest}"))?;
        rest = after;
        let (words, texts) = split(action.trim_matches(['-', ' ']))?;
        let words: Vec<&str> = words.split([' ', '(', ')']).collect();
        let mut result = open.last().cloned().unwrap_or_default();
        let mut texts = texts.iter();
        if words.contains(&"query") {
            let query = texts.next().ok_or("a query must be a literal")?;
            let query = query.replace("%q", "\"\"").replace("%[1]q", "\"\"");
            result = series.check(&query)?;
        }
        if words.contains(&"sortByLabel") {
            let label = texts.next().ok_or("sortByLabel needs a label")?;
            has(&result, label, "the result of the query")?;
        }
        for word in &words {
            if let Some(label) = word.strip_prefix("$labels.") {
                has(labels, label, "the alert")?;
            }
            if let Some(label) = word.strip_prefix(".Labels.") {
                has(&result, label, "the result of the query")?;
            }
        }
        match words[0] {
            "range" | "with" | "if" => open.push(result),
            "end" => {
                open.pop().ok_or("an end has no beginning")?;
            }
            _ => {}
        }
    }
    if open.is_empty() {
        Ok(())
    } else {
        Err("an end is missing".to_owned())
    }
}

/// Splits an action into its words and its quoted texts.
fn split(action: &str) -> Result<(String, Vec<String>), String> {
    let (mut words, mut texts) = (String::new(), Vec::new());
    let mut chars = action.chars();
    while let Some(char) = chars.next() {
        if char != '"' {
            words.push(char);
            continue;
        }
        let mut text = String::new();
        loop {
            match chars.next().ok_or("a text does not end")? {
                '"' => break,
                '\\' => text.extend(chars.next()),
                char => text.push(char),
            }
        }
        texts.push(text);
    }
    Ok((words, texts))
}
