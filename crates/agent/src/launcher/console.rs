//! The console of one run, as much of it as is kept, and its end: written once, told to any number of connections.
//!
//! Each listener has a place of its own in it. One that is slower than the game loses the lines in between, and never
//! makes the game or another listener wait.

use std::collections::VecDeque;

use tokio::sync::watch;

use crate::runtime::Exit;

const LINES: usize = 4000;
const BYTES: usize = 1 << 20;
/// Lines that are told at once.
const BATCH: usize = 256;

/// The lines of one run.
#[derive(Debug)]
pub(super) struct Console(watch::Sender<Log>);

/// One listener.
#[derive(Debug)]
pub(super) struct Listener {
    log: watch::Receiver<Log>,
    next: u64,
}

/// What a listener hears.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    Line(u64, String),
    /// Nothing comes after it.
    Ended(Exit),
}

#[derive(Debug, Default)]
struct Log {
    /// Number of the first line that is kept.
    first: u64,
    lines: VecDeque<String>,
    bytes: usize,
    ended: Option<Exit>,
}

impl Console {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Log::default()))
    }

    pub(super) fn push(&self, line: String) {
        self.0.send_modify(|log| log.push(line));
    }

    pub(super) fn end(&self, exit: Exit) {
        self.0.send_modify(|log| log.ended = Some(exit));
    }

    pub(super) fn has_ended(&self) -> bool {
        self.0.borrow().ended.is_some()
    }

    /// From the first line that is kept.
    pub(super) fn listen(&self) -> Listener {
        Listener { log: self.0.subscribe(), next: 0 }
    }
}

impl Listener {
    /// What comes next, as soon as there is something; empty if nothing will. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> Vec<News> {
        let next = self.next;
        let Ok(log) = self.log.wait_for(|log| log.has_news(next)).await else { return Vec::new() };
        let news = log.since(next);
        drop(log);
        if let Some(News::Line(n, _)) = news.last() {
            self.next = n + 1;
        }
        news
    }
}

impl Log {
    fn push(&mut self, line: String) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > LINES || self.bytes > BYTES {
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.len());
            self.first += 1;
        }
    }

    fn has_news(&self, next: u64) -> bool {
        self.ended.is_some() || self.first + self.lines.len() as u64 > next
    }

    fn since(&self, next: u64) -> Vec<News> {
        let skip = usize::try_from(next.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let numbered = (self.first..).zip(&self.lines).skip(skip).take(BATCH);
        let lines: Vec<News> = numbered.map(|(n, line)| News::Line(n, line.clone())).collect();
        match self.ended {
            Some(exit) if lines.is_empty() => vec![News::Ended(exit)],
            _ => lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(n: u64) -> News {
        News::Line(n, n.to_string())
    }

    #[tokio::test]
    async fn every_listener_hears_everything_and_then_the_end() {
        let console = Console::new();
        let mut early = console.listen();
        console.push("0".to_owned());
        assert_eq!(early.next().await, [line(0)]);
        console.push("1".to_owned());
        console.end(Exit::with(Some(3)));
        assert_eq!(early.next().await, [line(1)]);
        assert_eq!(early.next().await, [News::Ended(Exit::with(Some(3)))]);
        let mut late = console.listen();
        assert_eq!(late.next().await, [line(0), line(1)]);
        assert!(console.has_ended());
    }

    #[tokio::test]
    async fn a_slow_listener_loses_lines_and_costs_no_memory() {
        let console = Console::new();
        let mut slow = console.listen();
        for n in 0..LINES as u64 + 10 {
            console.push(n.to_string());
        }
        let heard = slow.next().await;
        assert_eq!((heard.len(), &heard[0]), (BATCH, &line(10)));
        for _ in 0..10 {
            console.push("x".repeat(BYTES / 4));
        }
        assert_eq!(slow.next().await.len(), 4);
    }
}
