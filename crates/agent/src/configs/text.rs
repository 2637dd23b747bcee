//! Formats of lines: plain text, Java properties, INI. Pure.

use serde_json::Value;

use super::Rule;
use super::tree::{as_text, replaced};

/// Each line with its end, so that what is kept is kept to the byte.
fn split(text: &str) -> Vec<(&str, &str)> {
    let with_end =
        |line: &'_ str| -> usize { if line.ends_with("\r\n") { 2 } else { usize::from(line.ends_with('\n')) } };
    text.split_inclusive('\n').map(|line| line.split_at(line.len() - with_end(line))).collect()
}

fn line_end(lines: &[(&str, &str)]) -> &'static str {
    if lines.first().is_some_and(|(_, end)| *end == "\r\n") { "\r\n" } else { "\n" }
}

/// A line that begins with what is looked for becomes the value.
pub(super) fn lines(before: &str, rules: &[Rule]) -> String {
    let mut after = String::with_capacity(before.len());
    for (line, end) in split(before) {
        match rules.iter().rev().find(|rule| line.starts_with(rule.find.as_str())) {
            Some(rule) => after.push_str(&as_text(&rule.value)),
            None => after.push_str(line),
        }
        after.push_str(end);
    }
    after
}

/// What a key becomes: its rule, if its present value lets it.
fn value_of(rule: &Rule, present: Option<&str>) -> Option<String> {
    match &rule.if_value {
        None => Some(as_text(&rule.value)),
        Some(wanted) => replaced(wanted, present?, &as_text(&rule.value)),
    }
}

/// Appends a line, on a line of its own.
fn append(text: &mut String, line: &str, end: &str) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push_str(end);
    }
    text.push_str(line);
    text.push_str(end);
}

/// `key=value`, `key: value`, `key value`; a backslash at its end goes on in the next line. Missing keys are added.
pub(super) fn properties(before: &str, rules: &[Rule]) -> String {
    rules.iter().fold(before.to_owned(), |text, rule| property(&text, rule))
}

fn property(before: &str, rule: &Rule) -> String {
    let lines = split(before);
    let (mut after, mut found, mut at) = (String::with_capacity(before.len()), false, 0);
    while at < lines.len() {
        let first = at;
        while goes_on(lines[at].0) && !is_comment(lines[first].0) && at + 1 < lines.len() {
            at += 1;
        }
        at += 1;
        let whole: String = lines[first..at].iter().flat_map(|(line, end)| [*line, *end]).collect();
        let (line, end) = lines[first];
        let key = (!is_comment(line)).then(|| key_end(line)).filter(|(name, _)| *name == rule.find);
        let Some((_, value_at)) = key else {
            after.push_str(&whole);
            continue;
        };
        found = true;
        match value_of(rule, Some(&unescaped(&line[value_at..]))) {
            Some(value) => {
                let separator =
                    if line[..value_at].trim_end().len() == line.trim_end().len() && !line.contains(['=', ':']) {
                        "="
                    } else {
                        ""
                    };
                after.extend([&line[..value_at], separator, &escaped(&value)]);
                after.push_str(if at == lines.len() { lines[at - 1].1 } else { end });
            }
            None => after.push_str(&whole),
        }
    }
    if !found && let Some(value) = value_of(rule, None) {
        append(&mut after, &format!("{}={}", escaped_key(&rule.find), escaped(&value)), line_end(&lines));
    }
    after
}

fn is_comment(line: &str) -> bool {
    matches!(line.trim_start().chars().next(), None | Some('#' | '!'))
}

fn goes_on(line: &str) -> bool {
    line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

/// The key of a line, and where its value begins.
fn key_end(line: &str) -> (String, usize) {
    let start = line.len() - line.trim_start().len();
    let (mut key, mut escape, mut end) = (String::new(), false, line.len());
    for (at, c) in line[start..].char_indices() {
        if !escape && matches!(c, '=' | ':' | ' ' | '\t') {
            end = start + at;
            break;
        }
        escape = !escape && c == '\\';
        if !escape {
            key.push(c);
        }
    }
    let rest = &line[end..];
    let blank = rest.len() - rest.trim_start().len();
    let sign = usize::from(rest[blank..].starts_with(['=', ':']));
    let behind = &rest[blank + sign..];
    (key, end + blank + sign + if sign == 1 { behind.len() - behind.trim_start().len() } else { 0 })
}

fn escaped_key(key: &str) -> String {
    escaped(key).replace('=', "\\=").replace(':', "\\:").replace(' ', "\\ ")
}

/// As Java reads it back, whatever the encoding.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for (at, c) in value.char_indices() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            ' ' if at == 0 => text.push_str("\\ "),
            c if c.is_ascii() => text.push(c),
            c => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    text.extend(["\\u".to_owned(), format!("{unit:04X}")]);
                }
            }
        }
    }
    text
}

/// What a value on one line says, for comparing.
fn unescaped(text: &str) -> String {
    let quoted =
        format!("\"{}\"", text.replace('"', "\\\"").replace("\\ ", " ").replace("\\:", ":").replace("\\=", "="));
    serde_json::from_str::<Value>(&quoted)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_else(|| text.to_owned())
}

/// `section.key`, or `[a.b].key` for a section with a dot in its name; a key without a section is before the first one.
pub(super) fn ini(before: &str, rules: &[Rule]) -> String {
    rules.iter().fold(before.to_owned(), |text, rule| ini_key(&text, rule))
}

fn ini_key(before: &str, rule: &Rule) -> String {
    let (section, key) = ini_place(&rule.find);
    let lines = split(before);
    let end = line_end(&lines);
    let spaced = !lines.iter().any(|(line, _)| {
        ini_pair(line).is_some_and(|(name, value_at)| value_at == line.len() - line.trim_start().len() + name.len() + 1)
    });
    let sign = if spaced { " = " } else { "=" };
    let (mut after, mut here, mut place, mut found) =
        (String::with_capacity(before.len()), section.is_empty(), None, false);
    if here {
        place = Some(0);
    }
    for (line, line_end) in &lines {
        if let Some(name) = ini_section(line) {
            here = name == section;
        }
        let pair = ini_pair(line).filter(|(name, _)| here && *name == key);
        match pair.and_then(|(_, at)| Some((at, value_of(rule, Some(line[at..].trim()))?))) {
            Some((at, value)) => after.extend([&line[..at], value.as_str(), *line_end]),
            None => after.extend([*line, *line_end]),
        }
        found |= pair.is_some();
        if here && !line.trim().is_empty() {
            place = Some(after.len());
        }
    }
    let Some(value) = value_of(rule, None).filter(|_| !found) else { return after };
    let new = format!("{key}{sign}{value}");
    if let Some(at) = place {
        let rest = after.split_off(at);
        append(&mut after, &new, end);
        after + &rest
    } else {
        append(&mut after, &format!("[{section}]"), end);
        append(&mut after, &new, end);
        after
    }
}

fn ini_place(find: &str) -> (&str, &str) {
    if let Some((section, key)) = find.strip_prefix('[').and_then(|rest| rest.split_once("].")) {
        return (section, key);
    }
    find.split_once('.').unwrap_or(("", find))
}

fn ini_section(line: &str) -> Option<&str> {
    let line = line.trim();
    line.strip_prefix('[')?.split_once(']').map(|(name, _)| name.trim())
}

/// A key, and where its value begins.
fn ini_pair(line: &str) -> Option<(&str, usize)> {
    if line.trim_start().starts_with([';', '#', '[']) {
        return None;
    }
    let at = line.find('=')?;
    let behind = &line[at + 1..];
    Some((line[..at].trim(), at + 1 + behind.len() - behind.trim_start().len()))
}
