//! The rules of an egg's variable: Laravel's validation language, as far as eggs use it.
//!
//! Rules that are not known here are kept and named by [`Rules::unknown`]; a value is neither refused nor approved by
//! them. A regular expression that needs what a linear-time engine does not have (look-around, back references) is one.

use regex::bytes::{Regex, RegexBuilder};

/// What a value must be.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// As they are written, for people.
    text: Vec<String>,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
enum Rule {
    Required,
    /// Says nothing about a value that is there.
    Neutral,
    Integer,
    Numeric,
    Boolean,
    Alpha,
    AlphaNum,
    AlphaDash,
    Digits(usize),
    Max(f64),
    Min(f64),
    Size(f64),
    Between(f64, f64),
    DigitsBetween(usize, usize),
    In(Vec<String>),
    NotIn(Vec<String>),
    StartsWith(Vec<String>),
    Regex(Regex),
    NotRegex(Regex),
    Unknown(String),
}

impl Rules {
    /// Reads one text with `|` between the rules, or a list with one rule each.
    #[must_use]
    pub fn parse(texts: &[String]) -> Self {
        let text: Vec<String> = match texts {
            [one] => split(one),
            many => many.to_vec(),
        };
        let rules = text.iter().map(|rule| Rule::parse(rule.trim())).collect();
        Self { text, rules }
    }

    /// As they are written.
    #[must_use]
    pub fn text(&self) -> String {
        self.text.join("|")
    }

    /// Those that are not checked.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().filter_map(|rule| match rule {
            Rule::Unknown(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// Checks a value. The error is what to tell the person who gave it.
    pub fn check(&self, value: &str) -> Result<(), String> {
        if value.is_empty() {
            let required = self.rules.iter().any(|rule| matches!(rule, Rule::Required));
            return if required { Err("is required".to_owned()) } else { Ok(()) };
        }
        // Laravel's sizes are of numbers where the value is said to be one, of characters otherwise.
        let number = self.rules.iter().any(|rule| matches!(rule, Rule::Integer | Rule::Numeric));
        self.rules.iter().try_for_each(|rule| rule.check(value, number))
    }
}

/// Splits at `|`, but not inside the delimiters of a regular expression.
fn split(text: &str) -> Vec<String> {
    let mut rules: Vec<String> = Vec::new();
    for part in text.split('|') {
        match rules.last_mut() {
            Some(open) if is_open_regex(open) => {
                open.push('|');
                open.push_str(part);
            }
            _ if part.trim().is_empty() => {}
            _ => rules.push(part.to_owned()),
        }
    }
    rules
}

fn is_open_regex(rule: &str) -> bool {
    let pattern = rule.strip_prefix("regex:").or_else(|| rule.strip_prefix("not_regex:"));
    pattern.is_some_and(|pattern| delimited(pattern).is_none())
}

/// Pattern and flags of `/pattern/flags` as PHP writes it.
fn delimited(text: &str) -> Option<(&str, &str)> {
    let open = text.chars().next().filter(|c| !c.is_alphanumeric() && *c != '\\')?;
    let close = match open {
        '(' => ')',
        '{' => '}',
        '[' => ']',
        '<' => '>',
        same => same,
    };
    let (pattern, flags) = text[open.len_utf8()..].rsplit_once(close)?;
    flags.chars().all(|c| c.is_ascii_alphabetic()).then_some((pattern, flags))
}

impl Rule {
    fn parse(text: &str) -> Self {
        let (name, argument) = text.split_once(':').map_or((text, None), |(name, argument)| (name, Some(argument)));
        let known = match (name, argument) {
            ("required", None) => Some(Self::Required),
            ("nullable" | "sometimes" | "string" | "bail" | "present", None) => Some(Self::Neutral),
            ("integer" | "int", None) => Some(Self::Integer),
            ("numeric" | "num", None) => Some(Self::Numeric),
            ("boolean" | "bool", None) => Some(Self::Boolean),
            ("alpha", None) => Some(Self::Alpha),
            ("alpha_num", None) => Some(Self::AlphaNum),
            ("alpha_dash", None) => Some(Self::AlphaDash),
            (name, Some(argument)) => Self::parse_with(name, argument),
            _ => None,
        };
        known.unwrap_or_else(|| Self::Unknown(text.to_owned()))
    }

    fn parse_with(name: &str, argument: &str) -> Option<Self> {
        let list = || argument.split(',').map(|word| word.trim().trim_matches('"').to_owned()).collect();
        Some(match name {
            "max" => Self::Max(argument.trim().parse().ok()?),
            "min" => Self::Min(argument.trim().parse().ok()?),
            "size" => Self::Size(argument.trim().parse().ok()?),
            "digits" => Self::Digits(argument.trim().parse().ok()?),
            "between" => {
                let (low, high) = argument.split_once(',')?;
                Self::Between(low.trim().parse().ok()?, high.trim().parse().ok()?)
            }
            "digits_between" => {
                let (low, high) = argument.split_once(',')?;
                Self::DigitsBetween(low.trim().parse().ok()?, high.trim().parse().ok()?)
            }
            "in" => Self::In(list()),
            "not_in" => Self::NotIn(list()),
            "starts_with" => Self::StartsWith(list()),
            "regex" => Self::Regex(php_regex(argument)?),
            "not_regex" => Self::NotRegex(php_regex(argument)?),
            _ => return None,
        })
    }

    fn check(&self, value: &str, number: bool) -> Result<(), String> {
        let ascii = |extra: &str| value.chars().all(|c| c.is_alphanumeric() || extra.contains(c));
        let size = || if number { value.parse().ok() } else { Some(f64_of(value.chars().count())) };
        let in_range = |low: f64, high: f64| size().is_some_and(|size: f64| (low..=high).contains(&size));
        let digits = |low, high| value.bytes().all(|b| b.is_ascii_digit()) && (low..=high).contains(&value.len());
        let unit = if number { "" } else { " characters long" };
        match self {
            Self::Required | Self::Neutral | Self::Unknown(_) => Ok(()),
            Self::Integer => must(value.parse::<i64>().is_ok(), || "must be a whole number".to_owned()),
            Self::Numeric => must(value.parse::<f64>().is_ok_and(f64::is_finite), || "must be a number".to_owned()),
            Self::Boolean => {
                must(matches!(value, "0" | "1" | "true" | "false"), || "must be 0, 1, true or false".to_owned())
            }
            Self::Alpha => must(value.chars().all(char::is_alphabetic), || "must be letters".to_owned()),
            Self::AlphaNum => must(ascii(""), || "must be letters and digits".to_owned()),
            Self::AlphaDash => must(ascii("-_"), || "must be letters, digits, - and _".to_owned()),
            Self::Digits(n) => must(digits(*n, *n), || format!("must be {n} digits")),
            Self::DigitsBetween(low, high) => must(digits(*low, *high), || format!("must be {low} to {high} digits")),
            Self::Max(max) => must(in_range(f64::MIN, *max), || format!("must be at most {max}{unit}")),
            Self::Min(min) => must(in_range(*min, f64::MAX), || format!("must be at least {min}{unit}")),
            Self::Size(size) => must(in_range(*size, *size), || format!("must be {size}{unit}")),
            Self::Between(low, high) => must(in_range(*low, *high), || format!("must be {low} to {high}{unit}")),
            Self::In(words) => {
                must(words.iter().any(|word| word == value), || format!("must be one of {}", words.join(", ")))
            }
            Self::NotIn(words) => {
                must(words.iter().all(|word| word != value), || format!("must not be one of {}", words.join(", ")))
            }
            Self::StartsWith(words) => must(words.iter().any(|word| value.starts_with(word.as_str())), || {
                format!("must start with one of {}", words.join(", "))
            }),
            Self::Regex(regex) => must(regex.is_match(value.as_bytes()), || format!("must match {}", regex.as_str())),
            Self::NotRegex(regex) => {
                must(!regex.is_match(value.as_bytes()), || format!("must not match {}", regex.as_str()))
            }
        }
    }
}

fn must(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// Lengths of texts are far below where a float loses whole numbers.
fn f64_of(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

fn php_regex(text: &str) -> Option<Regex> {
    let (pattern, flags) = delimited(text)?;
    let mut builder = RegexBuilder::new(pattern);
    // Without /u PHP matches bytes, and \w is ASCII there.
    builder.unicode(false).size_limit(1 << 20);
    for flag in flags.chars() {
        match flag {
            'i' => builder.case_insensitive(true),
            'm' => builder.multi_line(true),
            's' => builder.dot_matches_new_line(true),
            'x' => builder.ignore_whitespace(true),
            'u' | 'D' => &mut builder,
            _ => return None,
        };
    }
    builder.build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rules: &str, value: &str) -> Result<(), String> {
        Rules::parse(&[rules.to_owned()]).check(value)
    }

    #[test]
    fn values_are_held_to_their_rules() {
        for (rules, good, bad) in [
            ("required|string|max:5", "abcde", "abcdef"),
            ("required|string", "x", ""),
            ("required|integer|between:1,100", "100", "101"),
            ("required|integer", "-3", "3.5"),
            ("numeric|min:2", "2.5", "1"),
            ("required|boolean", "1", "2"),
            ("required|in:survival,creative", "creative", "adventure"),
            ("required|regex:/^(a|b)+$/i", "aBA", "c"),
            ("regex:/^[\\w.-]+\\.jar$/|max:9", "a.jar", "a.jar.sh"),
            ("alpha_dash", "a-b_1", "a b"),
            ("digits:4", "0042", "042"),
            ("starts_with:http,steam", "steam://x", "ftp://x"),
            ("not_in:a,b", "c", "a"),
            ("min:3", "abc", "ab"),
        ] {
            assert_eq!(check(rules, good), Ok(()), "{rules} {good}");
            assert!(check(rules, bad).is_err(), "{rules} {bad}");
        }
    }

    #[test]
    fn an_empty_value_is_fine_unless_required() {
        assert_eq!(check("nullable|integer|max:5", ""), Ok(()));
        assert_eq!(check("", ""), Ok(()));
        assert_eq!(check("required", ""), Err("is required".to_owned()));
    }

    #[test]
    fn what_cannot_be_checked_is_named_and_refuses_nothing() {
        let rules = Rules::parse(&["required|active_url|regex:/^(?!x)/|max:many".to_owned()]);
        assert_eq!(rules.unknown().collect::<Vec<_>>(), ["active_url", "regex:/^(?!x)/", "max:many"]);
        assert_eq!(rules.check("anything"), Ok(()));
        assert_eq!(rules.text(), "required|active_url|regex:/^(?!x)/|max:many");
    }
}
