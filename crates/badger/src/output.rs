//! Standard output of the command line: lines, and JSON values as one line each.
//!
//! `println!` panics when the reader goes away (`badger server list | head`). Here that ends the program quietly.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

/// Writes one line and flushes, so that a program that reads us sees it at once.
pub(crate) fn line(text: impl AsRef<str>) {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush());
    match written {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        // Standard output is gone for another reason: standard error is all that is left to say so.
        Err(e) => note(format!("cannot write to standard output: {e}")),
    }
}

/// Writes `value` as one line of JSON.
pub(crate) fn json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => line(text),
        Err(e) => note(format!("cannot write JSON: {e}")),
    }
}

/// Writes one line to standard error. When that fails there is nobody left to tell.
pub(crate) fn note(text: impl AsRef<str>) {
    drop(writeln!(io::stderr().lock(), "{}", text.as_ref()));
}
