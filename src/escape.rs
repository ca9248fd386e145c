//! Escapes control characters in text from AWS, files and the environment, for terminals and log viewers.

use std::borrow::Cow;

/// Returns true for a character that a terminal or a log viewer interprets instead of showing: the controls C0, DEL and C1, the line and
/// paragraph separators, and the bidirectional embeddings, overrides and isolates.
pub fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}'..='\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns `text` with all control characters escaped as in JSON, line breaks included. Compact JSON stays valid, because it has control
/// characters only in strings.
pub fn line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().map(|character| match character {
        '\n' => "\\n".to_owned(),
        // Every control character is below U+10000.
        character if is_control(character) => format!("\\u{:04x}", u32::from(character)),
        character => character.to_string(),
    });
    Cow::Owned(escaped.collect())
}

/// Escapes each line of `text` as `line` does, and keeps the line breaks.
pub fn lines(text: &str) -> String {
    let lines: Vec<Cow<'_, str>> = text.split('\n').map(line).collect();
    lines.join("\n")
}
