//! Formats of trees: JSON and YAML. Pure.
//!
//! What the file must say afterwards is computed on the parsed tree. Then each value that differs is replaced where it
//! stands in the text, and the result is read again: only if it says exactly that is it taken. Otherwise, because something
//! has to be added, or stands there in a way that is not understood, the tree is written anew, which keeps what it says
//! and not how it looked.

use regex::bytes::RegexBuilder;
use serde_json::{Map, Value};

use super::Rule;

/// A value in a file of text.
pub(super) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// What `present` becomes where it is `wanted`; none where it is not. `regex:` replaces what matches in it.
pub(super) fn replaced(wanted: &str, present: &str, value: &str) -> Option<String> {
    let Some(pattern) = wanted.strip_prefix("regex:") else {
        return (wanted == present).then(|| value.to_owned());
    };
    let regex = RegexBuilder::new(pattern).unicode(false).size_limit(1 << 20).build().ok()?;
    let bytes = present.as_bytes();
    regex.is_match(bytes).then(|| String::from_utf8_lossy(&regex.replace_all(bytes, value.as_bytes())).into_owned())
}

/// Numbers are numbers, whatever the egg wrote them as.
fn typed(value: &Value) -> Value {
    match value {
        Value::String(text) => match text.parse::<i64>() {
            Ok(number) if number.to_string() == *text => Value::from(number),
            _ => value.clone(),
        },
        other => other.clone(),
    }
}

/// Sets what a rule says beneath `at`. `path` are the steps that are left.
fn set(at: &mut Value, path: &[&str], rule: &Rule) {
    let Some((step, rest)) = path.split_first() else {
        match &rule.if_value {
            None => *at = typed(&rule.value),
            Some(wanted) => {
                if let Some(text) = replaced(wanted, &as_text(at), &as_text(&rule.value)) {
                    *at = if wanted.starts_with("regex:") { Value::String(text) } else { typed(&rule.value) };
                }
            }
        }
        return;
    };
    match (at, *step) {
        (Value::Object(map), "*") => map.values_mut().for_each(|child| set(child, rest, rule)),
        (Value::Array(list), "*") => list.iter_mut().for_each(|child| set(child, rest, rule)),
        (Value::Array(list), index) => {
            if let Some(child) = index.parse::<usize>().ok().and_then(|index| list.get_mut(index)) {
                set(child, rest, rule);
            }
        }
        (Value::Object(map), key) => match map.get_mut(key) {
            Some(child) => set(child, rest, rule),
            // A condition on what is not there does not hold, and behind a `*` there is nothing to make.
            None if rule.if_value.is_none() && !rest.contains(&"*") => {
                set(map.entry(key).or_insert_with(|| Value::Object(Map::new())), rest, rule);
            }
            None => {}
        },
        // A value where the path goes on: it gives way.
        (other, _) if rule.if_value.is_none() && *step != "*" => {
            *other = Value::Object(Map::new());
            set(other, path, rule);
        }
        _ => {}
    }
}

fn applied(before: &Value, rules: &[Rule]) -> Value {
    let mut after = before.clone();
    for rule in rules {
        set(&mut after, &rule.find.split('.').collect::<Vec<_>>(), rule);
    }
    after
}

/// The leaves that differ: path and what is there afterwards. None if the two are not of one shape.
fn differences(before: &Value, after: &Value, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, Value)>) -> bool {
    match (before, after) {
        (before, after) if before == after => true,
        (Value::Object(old), Value::Object(new)) if old.len() == new.len() => new.iter().all(|(key, value)| {
            let Some(was) = old.get(key) else { return false };
            path.push(key.clone());
            let same_shape = differences(was, value, path, found);
            path.pop();
            same_shape
        }),
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            old.iter().zip(new).enumerate().all(|(index, (was, value))| {
                path.push(index.to_string());
                let same_shape = differences(was, value, path, found);
                path.pop();
                same_shape
            })
        }
        (Value::Object(_) | Value::Array(_), _) | (_, Value::Object(_) | Value::Array(_)) => false,
        _ => {
            found.push((path.clone(), after.clone()));
            true
        }
    }
}

/// The text with each difference written where it stands.
fn edited(
    text: &str,
    before: &Value,
    after: &Value,
    edit: impl Fn(&str, &[String], &Value) -> Option<String>,
    read: impl Fn(&str) -> Result<Value, String>,
) -> Option<String> {
    let mut found = Vec::new();
    if !differences(before, after, &mut Vec::new(), &mut found) {
        return None;
    }
    let edited = found.iter().try_fold(text.to_owned(), |text, (path, value)| edit(&text, path, value))?;
    (read(&edited).ok().as_ref() == Some(after)).then_some(edited)
}

pub(super) fn json(text: &str, rules: &[Rule]) -> Result<String, String> {
    let empty = text.trim().is_empty();
    let before = if empty { Value::Object(Map::new()) } else { read_json(text)? };
    let after = applied(&before, rules);
    if before == after && !empty {
        return Ok(text.to_owned());
    }
    Ok(edited(text, &before, &after, json_edit, read_json).unwrap_or_else(|| format!("{after:#}\n")))
}

fn read_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("it is no JSON ({error})"))
}

/// Puts `value` in the place of the one at `path`. The text is known to be JSON.
fn json_edit(text: &str, path: &[String], value: &Value) -> Option<String> {
    let (start, end) = json_span(text, path)?;
    Some(format!("{}{value}{}", &text[..start], &text[end..]))
}

fn json_span(text: &str, path: &[String]) -> Option<(usize, usize)> {
    let mut at = skip_blank(text, 0);
    for step in path {
        let is_list = text[at..].starts_with('[');
        let mut index = 0_usize;
        at = skip_blank(text, at + 1);
        loop {
            let mut matches = index.to_string() == *step;
            if !is_list {
                let end = json_end(text, at)?;
                matches = serde_json::from_str::<String>(&text[at..end]).ok()? == *step;
                at = skip_blank(text, skip_blank(text, end) + 1);
            }
            if matches {
                break;
            }
            at = skip_blank(text, json_end(text, at)?);
            if !text[at..].starts_with(',') {
                return None;
            }
            at = skip_blank(text, at + 1);
            index += 1;
        }
    }
    Some((at, json_end(text, at)?))
}

fn skip_blank(text: &str, at: usize) -> usize {
    text.len() - text[at..].trim_start_matches([' ', '\t', '\r', '\n']).len()
}

/// Where the value that begins at `at` ends.
fn json_end(text: &str, at: usize) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
    values.next()?.ok()?;
    Some(at + values.byte_offset())
}

pub(super) fn yaml(text: &str, rules: &[Rule]) -> Result<String, String> {
    let before = read_yaml(text)?;
    let after = applied(&before, rules);
    if before == after {
        return Ok(text.to_owned());
    }
    // JSON is YAML.
    Ok(edited(text, &before, &after, yaml_edit, read_yaml).unwrap_or_else(|| format!("{after:#}\n")))
}

fn read_yaml(text: &str) -> Result<Value, String> {
    let empty = text
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with(['#', '-']) && !line.contains(':'));
    if empty && text.lines().all(|line| !line.trim_start().starts_with("- ")) {
        return Ok(Value::Object(Map::new()));
    }
    serde_saphyr::from_str(text)
        .map_err(|error| format!("it is no YAML ({})", error.to_string().lines().next().unwrap_or_default()))
}

/// Puts `value` behind the key of a block mapping at `path`. None where that is written in another way; the caller reads
/// the result again, so a mistake here is noticed.
fn yaml_edit(text: &str, path: &[String], value: &Value) -> Option<String> {
    let mut open: Vec<(usize, String)> = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let body = line.trim_end_matches(['\r', '\n']);
        let indent = body.len() - body.trim_start().len();
        let content = &body[indent..];
        let colon = content.find(": ").or_else(|| content.strip_suffix(':').map(str::len));
        if let Some(colon) = colon.filter(|_| !content.starts_with(['#', '-'])) {
            open.retain(|(depth, _)| *depth < indent);
            open.push((indent, content[..colon].trim().trim_matches(['"', '\'']).to_owned()));
            if open.iter().map(|(_, key)| key).eq(path) {
                let behind = &content[colon + 1..];
                let comment = behind.find(" #").map_or("", |at| &behind[at..]);
                let end = start + line.len();
                let line_end = &line[body.len()..];
                let head = &text[..=start + indent + colon];
                return Some(format!("{head} {value}{comment}{line_end}{}", &text[end..]));
            }
        }
        start += line.len();
    }
    None
}
