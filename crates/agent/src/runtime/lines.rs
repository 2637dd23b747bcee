//! Cuts a stream of bytes into console lines. Pure.

/// Longer lines are cut: a game that never ends one must not fill the memory.
pub(crate) const LINE_BYTES: usize = 4096;

/// Bytes that are not yet a whole line.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Where more bytes go.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.rest
    }

    /// The lines that are whole by now.
    pub(crate) fn take(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut from = 0;
        while let Some(end) = end_of_line(&self.rest[from..]) {
            lines.push(text(&self.rest[from..from + end]));
            from += end;
        }
        self.rest.drain(..from);
        lines
    }

    /// What is left when nothing more comes.
    pub(crate) fn take_rest(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.rest);
        (!rest.is_empty()).then(|| text(&rest))
    }
}

fn end_of_line(bytes: &[u8]) -> Option<usize> {
    let newline = bytes.iter().take(LINE_BYTES).position(|byte| *byte == b'\n').map(|at| at + 1);
    newline.or((bytes.len() > LINE_BYTES).then_some(LINE_BYTES))
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end_matches(['\r', '\n']).to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn lines_come_when_they_end_and_long_ones_are_cut() {
        let mut lines = Lines::default();
        lines.buffer().extend_from_slice(b"one\r\ntw");
        assert_eq!(lines.take(), ["one"]);
        lines.buffer().extend_from_slice(b"o\n\n");
        assert_eq!(lines.take(), ["two", ""]);
        lines.buffer().extend_from_slice(&[b'x'; LINE_BYTES + 1]);
        assert_eq!(lines.take()[0].len(), LINE_BYTES);
        assert_eq!(lines.take_rest().unwrap(), "x");
        assert_eq!(lines.take_rest(), None);
    }
}
