//! The document of an egg, with the spellings that years of exporters have left: texts of JSON inside JSON, numbers and
//! booleans as either, one image, a list or a map, one command line or several.
//!
//! Pterodactyl's (`PTDL_v1`, `PTDL_v2`) are JSON, Pelican's (`PLCN_v1` to `PLCN_v3`) JSON or YAML. Which of both a text is
//! shows in its first character.

use std::fmt;

use model::{ConfigFile, ConfigRule, InstallScript, StopHow};
use regex::bytes::RegexBuilder;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::{Egg, EggError, RESERVED, Rules, Variable};

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    meta: Meta,
    name: Option<String>,
    author: Option<String>,
    description: Option<String>,
    docker_images: Option<InOrder>,
    images: Option<Vec<String>>,
    image: Option<String>,
    startup: Option<String>,
    /// Pelican's: label and command line; the first is the default.
    startup_commands: Option<InOrder>,
    uuid: Option<String>,
    #[serde(default)]
    config: Config,
    #[serde(default)]
    scripts: Scripts,
    #[serde(default)]
    variables: Vec<RawVariable>,
}

#[derive(Default, Deserialize)]
struct Meta {
    version: Option<String>,
}

#[derive(Default, Deserialize)]
struct Config {
    files: Option<Value>,
    startup: Option<Value>,
    stop: Option<String>,
}

#[derive(Default, Deserialize)]
struct Scripts {
    installation: Option<Installation>,
}

#[derive(Deserialize)]
struct Installation {
    script: Option<String>,
    container: Option<String>,
    entrypoint: Option<String>,
}

#[derive(Deserialize)]
struct RawVariable {
    name: Option<String>,
    description: Option<String>,
    env_variable: String,
    #[serde(default)]
    default_value: Value,
    #[serde(default)]
    user_viewable: Value,
    #[serde(default)]
    user_editable: Value,
    #[serde(default)]
    rules: Value,
    field_type: Option<String>,
}

/// A map in the order of the document: its first entry is the default.
struct InOrder(Vec<(String, String)>);

impl<'de> Deserialize<'de> for InOrder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = InOrder;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of labels to texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InOrder, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(InOrder(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// The versions of Pterodactyl and Pelican that are understood.
const KNOWN: [&str; 5] = ["PTDL_v1", "PTDL_v2", "PLCN_v1", "PLCN_v2", "PLCN_v3"];

/// What serde says, without the place: the field is named beside it.
fn complaint(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((complaint, _)) if error.is_data() => complaint.to_owned(),
        _ => text,
    }
}

/// Whether a document is JSON; otherwise it is YAML.
pub(super) fn is_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

fn parse(text: &str) -> Result<Document, EggError> {
    if !is_json(text) {
        return serde_saphyr::from_str(text).map_err(|error| {
            EggError::new("egg", error.to_string().lines().next().unwrap_or("is no YAML").to_owned())
        });
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let document: Document = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| EggError::new(path(&error.path().to_string()), complaint(&error.into_inner())))?;
    json.end().map_err(|error| EggError::new("egg", error.to_string()))?;
    Ok(document)
}

pub(super) fn read(text: &str) -> Result<Egg, EggError> {
    let document = parse(text)?;
    let version = document.meta.version.clone().unwrap_or_default();
    if !KNOWN.contains(&version.as_str()) {
        let problem = format!("is `{version}`; {} are understood", KNOWN.join(", "));
        return Err(EggError::new("meta.version", problem));
    }
    let mut warnings = Vec::new();
    Ok(Egg {
        name: required("name", document.name.clone())?,
        author: document.author.clone().unwrap_or_default(),
        description: document.description.clone().unwrap_or_default(),
        startup: required("startup", startup(&document))?,
        uuid: document.uuid.clone().filter(|uuid| !uuid.trim().is_empty()),
        images: images(&document, version.starts_with("PTDL"))?,
        version,
        configs: configs(document.config.files.as_ref(), &mut warnings)?,
        stop: stop(document.config.stop.as_deref().unwrap_or_default(), &mut warnings),
        done: done(document.config.startup.as_ref(), &mut warnings)?,
        install: install(document.scripts.installation),
        variables: document.variables.into_iter().map(|raw| variable(raw, &mut warnings)).collect::<Result<_, _>>()?,
        warnings,
    })
}

fn path(path: &str) -> String {
    if matches!(path, "." | "?") { "egg".to_owned() } else { path.to_owned() }
}

fn required(field: &str, value: Option<String>) -> Result<String, EggError> {
    value.filter(|value| !value.trim().is_empty()).ok_or_else(|| EggError::new(field, "is required"))
}

/// The first command line is the default one.
fn startup(document: &Document) -> Option<String> {
    let first = document.startup_commands.as_ref().and_then(|commands| commands.0.first());
    first.map(|(_, command)| command.clone()).or_else(|| document.startup.clone())
}

/// Pelican's `image` is a picture.
fn images(document: &Document, one_is_named: bool) -> Result<Vec<(String, String)>, EggError> {
    let mut images = document.docker_images.as_ref().map(|images| images.0.clone()).unwrap_or_default();
    for image in document.images.iter().flatten().chain(document.image.iter().filter(|_| one_is_named)) {
        images.push((image.clone(), image.clone()));
    }
    images.retain(|(_, image)| !image.trim().is_empty());
    if images.is_empty() { Err(EggError::new("docker_images", "names no image")) } else { Ok(images) }
}

/// `^C` and `^SIGTERM` are signals, anything else is a line for the console.
fn stop(word: &str, warnings: &mut Vec<String>) -> StopHow {
    let Some(signal) = word.strip_prefix('^') else {
        if word.is_empty() {
            return StopHow::Signal("SIGTERM".to_owned());
        }
        return StopHow::Command(word.to_owned());
    };
    let name = match signal.trim_start_matches('^').to_ascii_uppercase().as_str() {
        "C" | "SIGINT" | "INT" => "SIGINT",
        "\\" | "SIGQUIT" | "QUIT" => "SIGQUIT",
        "SIGTERM" | "TERM" => "SIGTERM",
        other => {
            warnings.push(format!("config.stop: the signal `{other}` is not sent; SIGTERM is sent instead"));
            "SIGTERM"
        }
    };
    StopHow::Signal(name.to_owned())
}

/// A part of `config`: a value, or a text of JSON.
fn part(field: &str, value: Option<&Value>) -> Result<Value, EggError> {
    match value {
        Some(Value::String(text)) if text.trim().is_empty() => Ok(Value::Null),
        Some(Value::String(text)) => {
            serde_json::from_str(text).map_err(|error| EggError::new(field, format!("holds no JSON: {error}")))
        }
        Some(value) => Ok(value.clone()),
        None => Ok(Value::Null),
    }
}

/// One line or a list. `regex:` in front of one is Pterodactyl's spelling of a pattern.
fn done(startup: Option<&Value>, warnings: &mut Vec<String>) -> Result<Vec<String>, EggError> {
    let lines: Vec<String> = match part("config.startup", startup)?.get("done") {
        Some(Value::String(line)) => vec![line.clone()],
        Some(Value::Array(lines)) => lines.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let (good, bad): (Vec<_>, Vec<_>) = lines.into_iter().filter(|line| !line.is_empty()).partition(|line| {
        line.strip_prefix("regex:").is_none_or(|pattern| RegexBuilder::new(pattern).unicode(false).build().is_ok())
    });
    let unseen =
        |line: String| format!("config.startup.done: `{line}` is no pattern that is understood; it is never seen");
    warnings.extend(bad.into_iter().map(unseen));
    Ok(good)
}

/// `config.files`: path to `{parser, find: {key: value | {present value: value}}}`.
fn configs(files: Option<&Value>, warnings: &mut Vec<String>) -> Result<Vec<ConfigFile>, EggError> {
    let Value::Object(files) = part("config.files", files)? else { return Ok(Vec::new()) };
    let mut configs = Vec::new();
    for (path, file) in files {
        let parser = file.get("parser").and_then(Value::as_str).unwrap_or("file").to_owned();
        let Some(Value::Object(find)) = file.get("find") else { continue };
        if !PARSERS.contains(&parser.as_str()) {
            warnings.push(format!("config.files.{path}: files of the parser `{parser}` are not written"));
            continue;
        }
        let rules = find.iter().flat_map(|(find, value)| config_rules(find, value)).collect();
        configs.push(ConfigFile { path, parser, rules });
    }
    Ok(configs)
}

/// The formats that an agent writes.
const PARSERS: [&str; 6] = ["file", "properties", "ini", "json", "yaml", "yml"];

fn config_rules(find: &str, value: &Value) -> Vec<ConfigRule> {
    let rule =
        |if_value: Option<String>, value: &Value| ConfigRule { find: find.to_owned(), if_value, value: value.clone() };
    match value {
        Value::Object(cases) => cases.iter().map(|(present, value)| rule(Some(present.clone()), value)).collect(),
        value => vec![rule(None, value)],
    }
}

fn install(installation: Option<Installation>) -> Option<InstallScript> {
    let installation = installation?;
    // Exporters on Windows leave CRLF, at which a shell chokes.
    let script = installation.script?.replace("\r\n", "\n");
    if script.trim().is_empty() {
        return None;
    }
    Some(InstallScript {
        container: installation.container.unwrap_or_default(),
        entrypoint: installation.entrypoint.filter(|word| !word.is_empty()).unwrap_or_else(|| "sh".to_owned()),
        script,
    })
}

fn variable(raw: RawVariable, warnings: &mut Vec<String>) -> Result<Variable, EggError> {
    let name = &raw.env_variable;
    let first = name.chars().next();
    if !first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    {
        return Err(EggError::new("variables.env_variable", format!("`{name}` is no name of an environment variable")));
    }
    if RESERVED.contains(&name.as_str()) {
        warnings.push(format!("variables.{name}: the panel sets this variable itself; the egg's value is not used"));
    }
    let rules = Rules::parse(&rule_texts(&raw.rules));
    for rule in rules.unknown() {
        warnings.push(format!("variables.{name}: the rule `{rule}` is not checked"));
    }
    Ok(Variable {
        name: raw.name.unwrap_or_else(|| name.clone()),
        description: raw.description.unwrap_or_default(),
        default_value: text(&raw.default_value),
        user_viewable: truth(&raw.user_viewable),
        user_editable: truth(&raw.user_editable),
        rules,
        field_type: raw.field_type.unwrap_or_else(|| "text".to_owned()),
        env_variable: raw.env_variable,
    })
}

fn rule_texts(rules: &Value) -> Vec<String> {
    match rules {
        Value::String(rules) => vec![rules.clone()],
        Value::Array(rules) => rules.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(truth) => if *truth { "1" } else { "0" }.to_owned(),
        other => other.to_string(),
    }
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_i64() != Some(0),
        Value::String(text) => matches!(text.as_str(), "1" | "true"),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
