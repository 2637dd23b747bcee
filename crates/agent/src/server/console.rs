//! The last lines of a server's console, and whether one of them says that the game is up. Pure.

use std::collections::VecDeque;

const LINES: usize = 1000;
/// A reply with all of it stays far below the largest message.
const BYTES: usize = 512 << 10;

/// A bounded memory of lines.
#[derive(Debug, Default)]
pub(super) struct Console {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Console {
    pub(super) fn push(&mut self, line: String) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > LINES || self.bytes > BYTES {
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.len());
        }
    }

    /// Oldest first.
    pub(super) fn last(&self, count: usize) -> Vec<String> {
        self.lines.iter().skip(self.lines.len().saturating_sub(count)).cloned().collect()
    }
}

/// Whether a console line contains one of the egg's words for "up". Colours are looked through.
pub(super) fn says_done(line: &str, done: &[String]) -> bool {
    let plain = without_colours(line);
    done.iter().any(|word| !word.is_empty() && plain.contains(word.as_str()))
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
    fn up_is_recognised_through_colours() {
        let done = ["Done (".to_owned(), String::new()];
        assert!(says_done("\u{1b}[0;32m[INFO] Done\u{1b}[0m (3.2s)!", &done));
        assert!(!says_done("Loading", &done));
    }
}
