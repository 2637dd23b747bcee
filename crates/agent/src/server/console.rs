//! The last lines of a server's console, each with its number, and whether one of them says that the game is up.

use std::collections::VecDeque;

use model::agent_api::{ConsoleMark, Reply};
use regex::bytes::{Regex, RegexBuilder};
use tokio::sync::watch;
use uuid::Uuid;

const LINES: usize = 1000;
/// A reply with all of it stays far below the largest message.
const BYTES: usize = 512 << 10;
/// Of a compiled pattern.
const PATTERN_BYTES: usize = 1 << 20;

/// A bounded memory of lines, numbered from 1. What is forgotten keeps its number: who follows notices the gap.
#[derive(Debug)]
pub(super) struct Console {
    name: String,
    lines: VecDeque<String>,
    bytes: usize,
    /// Number of the last line; whoever waits for the next one watches it.
    last: watch::Sender<u64>,
}

impl Default for Console {
    fn default() -> Self {
        Self { name: Uuid::now_v7().to_string(), lines: VecDeque::new(), bytes: 0, last: watch::Sender::new(0) }
    }
}

impl Console {
    pub(super) fn push(&mut self, line: String) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > LINES || self.bytes > BYTES {
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.len());
        }
        self.last.send_modify(|last| *last += 1);
    }

    /// Oldest first.
    pub(super) fn last(&self, count: usize) -> Vec<String> {
        self.lines.iter().skip(self.lines.len().saturating_sub(count)).cloned().collect()
    }

    /// Tells the number of the last line.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// At most `count` lines behind `mark`, oldest first; the last ones if the mark is none of this memory.
    pub(super) fn behind(&self, mark: Option<&ConsoleMark>, count: usize) -> Stretch {
        let last = *self.last.borrow();
        let oldest = last - self.lines.len() as u64 + 1;
        let first = match mark.filter(|mark| mark.memory == self.name) {
            Some(mark) => mark.line.min(last).saturating_add(1).max(oldest),
            None => oldest.max((last + 1).saturating_sub(count as u64)),
        };
        let skipped = usize::try_from(first - oldest).unwrap_or(usize::MAX);
        let lines = self.lines.iter().skip(skipped).take(count).cloned().collect();
        Stretch { memory: self.name.clone(), first, lines }
    }
}

/// Lines that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    memory: String,
    /// Number of the first, or of the next to come.
    pub(super) first: u64,
    pub(super) lines: Vec<String>,
}

impl Stretch {
    /// Whether whoever is at `mark` has seen everything.
    pub(super) fn is_end_for(&self, mark: Option<&ConsoleMark>) -> bool {
        self.lines.is_empty() && mark.is_some_and(|mark| mark.memory == self.memory)
    }
}

impl From<Stretch> for Reply {
    fn from(Stretch { memory, first, lines }: Stretch) -> Self {
        Self::ConsoleLines { memory, first, lines }
    }
}

/// What an egg calls being up, made ready to be looked for. Colours are looked through.
#[derive(Debug, Default)]
pub(super) struct Done {
    words: Vec<String>,
    patterns: Vec<Regex>,
}

impl Done {
    /// A pattern that is none is never seen; the panel has said so when the egg was imported.
    pub(super) fn of(done: &[String]) -> Self {
        let pattern = |text: &str| RegexBuilder::new(text).unicode(false).size_limit(PATTERN_BYTES).build().ok();
        let patterns = done.iter().filter_map(|word| pattern(word.strip_prefix("regex:")?));
        let words = done.iter().filter(|word| !word.is_empty() && !word.starts_with("regex:"));
        Self { words: words.cloned().collect(), patterns: patterns.collect() }
    }

    /// Whether this console line says so.
    pub(super) fn is_said(&self, line: &str) -> bool {
        let plain = without_colours(line);
        let matches = |pattern: &Regex| pattern.is_match(plain.as_bytes());
        self.words.iter().any(|word| plain.contains(word.as_str())) || self.patterns.iter().any(matches)
    }
}

/// Removes terminal sequences: `ESC [ … letter`.
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut parts = line.split("\u{1b}[");
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let end = part.find(|c: char| c.is_ascii_alphabetic()).map_or(part.len(), |at| at + 1);
        plain.push_str(&part[end..]);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_bounded_by_lines_and_bytes() {
        let mut console = Console::default();
        for n in 0..LINES + 5 {
            console.push(n.to_string());
        }
        assert_eq!(console.last(2), ["1003", "1004"]);
        assert_eq!(console.last(usize::MAX).len(), LINES);
        for _ in 0..10 {
            console.push("x".repeat(BYTES / 4));
        }
        assert_eq!(console.last(usize::MAX).len(), 4);
    }

    #[test]
    fn who_follows_gets_each_line_once_and_sees_what_was_forgotten() {
        let mut console = Console::default();
        let empty = console.behind(None, 10);
        assert_eq!((empty.first, empty.lines.len()), (1, 0));
        let mut mark = ConsoleMark { memory: empty.memory, line: 0 };
        assert!(console.behind(Some(&mark), 10).is_end_for(Some(&mark)));
        for n in 1..=25 {
            console.push(n.to_string());
        }
        assert_eq!(console.behind(None, 3).lines, ["23", "24", "25"]);
        let mut seen = Vec::new();
        while mark.line < 25 {
            let stretch = console.behind(Some(&mark), 10);
            assert_eq!(stretch.first, mark.line + 1);
            mark.line += stretch.lines.len() as u64;
            seen.extend(stretch.lines);
        }
        assert_eq!(seen, (1..=25).map(|n| n.to_string()).collect::<Vec<_>>());
        for n in 26..=LINES + 30 {
            console.push(n.to_string());
        }
        let stretch = console.behind(Some(&mark), 1);
        assert_eq!((stretch.first, stretch.lines), (31, vec!["31".to_owned()]), "five lines were forgotten");
        let ahead = ConsoleMark { line: u64::MAX, ..mark };
        assert_eq!(console.behind(Some(&ahead), 9).first, LINES as u64 + 31);
        let foreign = ConsoleMark { memory: "another".to_owned(), line: 7 };
        assert_eq!(console.behind(Some(&foreign), 1).lines, ["1030"]);
    }

    #[test]
    fn up_is_recognised_through_colours() {
        let done = Done::of(&["Done (".to_owned(), String::new()]);
        assert!(done.is_said("\u{1b}[0;32m[INFO] Done\u{1b}[0m (3.2s)!"));
        assert!(!done.is_said("Loading"));
    }

    #[test]
    fn up_may_be_a_pattern() {
        let done = Done::of(&["regex:^\\[\\d+\\] Server (is )?up\\.$".to_owned(), "regex:(".to_owned()]);
        assert!(done.is_said("[12] Server up."));
        assert!(!done.is_said("regex:( is no pattern, and no word either") && !done.is_said("[x] Server up."));
    }
}
