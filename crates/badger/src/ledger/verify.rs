//! Proof from the files alone: every record is in all three places and whole, and so is the rest of the world.
//!
//! Reads only. May run beside the server (SQLite in WAL mode has no objection) and after it is gone.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;

use super::layout::{Layout, blocks_path, filler_generation};
use super::record::{ClientName, Entry, SECTOR_BYTES, Sum};
use super::region::{place_of, table_covers};
use super::store::{database_path, logs_path, row_of};

/// More problems than this are counted, not listed.
const LISTED_PROBLEMS: usize = 50;

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Findings {
    /// Records in the database.
    pub(crate) records: u64,
    /// Of the acknowledged records given, how many are in all three places.
    pub(crate) acknowledged_found: u64,
    /// Filler sectors checked.
    pub(crate) sectors: u64,
    /// Of these, how many the game has rewritten since the layout.
    pub(crate) rewritten: u64,
    /// How many problems there are.
    pub(crate) problem_count: u64,
    /// The first of them.
    pub(crate) problems: Vec<String>,
}

impl Findings {
    fn problem(&mut self, text: String) {
        self.problem_count += 1;
        if self.problems.len() < LISTED_PROBLEMS {
            self.problems.push(text);
        }
    }
}

/// An acknowledged record, as a client remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// Who sent it.
    pub(crate) client: ClientName,
    /// Its number.
    pub(crate) seq: u64,
    /// Of its payload.
    pub(crate) sum: Sum,
}

/// Reads a client's file of acknowledged records: `client seq sum` a line.
pub(crate) fn read_acknowledged(path: &Path) -> Result<Vec<Acknowledged>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines()
        .map(|line| {
            let mut words = line.split_whitespace();
            let mut word = || words.next().with_context(|| format!("not `client seq sum`: {line}"));
            Ok(Acknowledged { client: word()?.parse()?, seq: word()?.parse()?, sum: word()?.parse()? })
        })
        .collect()
}

/// Checks a whole world, and that all of `acknowledged` is in it.
pub(crate) fn world(dir: &Path, acknowledged: Option<&[Acknowledged]>) -> Result<Findings> {
    let layout = Layout::load(dir)?.with_context(|| {
        format!(
            "{} holds no world: world.json is missing. Give the directory that `ledger serve` ran in",
            dir.display()
        )
    })?;
    let mut found = Findings::default();
    let records = Records::open(dir)?;
    for entry in records.all()? {
        found.records += 1;
        if let Err(e) = records.check(&entry) {
            found.problem(format!("record {} (seq {} of {}): {e:#}", entry.n, entry.seq, entry.client));
        }
    }
    for ack in acknowledged.unwrap_or_default() {
        match records.find(&ack.client, ack.seq) {
            Ok(entry) if entry.sum == ack.sum => found.acknowledged_found += 1,
            Ok(_) => found.problem(format!("acknowledged record {} of {} has another payload", ack.seq, ack.client)),
            Err(e) => found.problem(format!("acknowledged record {} of {}: {e:#}", ack.seq, ack.client)),
        }
    }
    check_filler(dir, &layout, &mut found)?;
    check_blocks(dir, &layout, &mut found)?;
    Ok(found)
}

/// The records of a world, opened to be read: a database connection and what the logs held at that moment.
#[derive(Debug)]
pub(crate) struct Records<'a> {
    dir: &'a Path,
    db: Connection,
    lines: HashSet<Entry>,
}

impl<'a> Records<'a> {
    /// Opens the database and reads the logs. Records that come later are not looked for in the logs.
    pub(crate) fn open(dir: &'a Path) -> Result<Self> {
        let db = open_to_read(&database_path(dir))?;
        Ok(Self { dir, db, lines: read_lines(dir)? })
    }

    /// Finds a client's record in all three places.
    pub(crate) fn find(&self, client: &ClientName, seq: u64) -> Result<Entry> {
        let entry = row_of(&self.db, client, seq)?.context("not in the database")?;
        self.check(&entry)?;
        Ok(entry)
    }

    fn check(&self, entry: &Entry) -> Result<()> {
        ensure!(self.lines.contains(entry), "not in the log");
        let (path, offset) = place_of(self.dir, entry.n);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let (mut table, mut sector) = (Box::new([0; SECTOR_BYTES]), Box::new([0; SECTOR_BYTES]));
        file.read_exact_at(&mut table[..], 0)?;
        table_covers(&table, entry.n)?;
        file.read_exact_at(&mut sector[..], offset)?;
        ensure!(Entry::from_sector(&sector)? == *entry, "its sector holds another record");
        Ok(())
    }

    fn all(&self) -> Result<Vec<Entry>> {
        let mut statement = self.db.prepare("SELECT n, client, seq, sum FROM records ORDER BY n")?;
        let mut rows = statement.query([])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            let (client, sum): (String, Vec<u8>) = (row.get(1)?, row.get(3)?);
            entries.push(Entry {
                n: u64::try_from(row.get::<_, i64>(0)?)?,
                client: client.parse()?,
                seq: u64::try_from(row.get::<_, i64>(2)?)?,
                sum: Sum(sum.try_into().ok().context("a row's checksum has not 16 bytes")?),
            });
        }
        Ok(entries)
    }
}

/// How many records the world holds, by its database.
pub(crate) fn count(dir: &Path) -> Result<u64> {
    let records: i64 =
        open_to_read(&database_path(dir))?.query_row("SELECT count(*) FROM records", [], |row| row.get(0))?;
    Ok(u64::try_from(records)?)
}

/// Opens a database without leaving a trace. Without a write-ahead log nobody has it open: then SQLite is told so, or
/// it would make the log's two files and leave them.
fn open_to_read(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let alone = !path.with_extension("db-wal").exists();
    let uri = format!("file:{}{}", percent_encode(path), if alone { "?immutable=1" } else { "" });
    let db = Connection::open_with_flags(uri, flags).with_context(|| format!("cannot open {}", path.display()))?;
    db.busy_timeout(Duration::from_secs(5))?;
    Ok(db)
}

fn percent_encode(path: &Path) -> String {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;
    let mut text = String::new();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("a string takes everything");
        }
    }
    text
}

/// Every whole line of every log. A damaged one is not in the set, so its record is reported.
fn read_lines(dir: &Path) -> Result<HashSet<Entry>> {
    let mut lines = HashSet::new();
    for file in fs::read_dir(logs_path(dir))? {
        let file = file?;
        let name = file.file_name();
        if !name.to_string_lossy().starts_with("ledger") {
            continue;
        }
        for line in BufReader::new(File::open(file.path())?).split(b'\n') {
            let line = line?;
            lines.extend(std::str::from_utf8(&line).ok().and_then(|line| Entry::from_line(line).ok()));
        }
    }
    Ok(lines)
}

fn check_filler(dir: &Path, layout: &Layout, found: &mut Findings) -> Result<()> {
    for k in 0..layout.regions {
        let path = Layout::region_path(dir, k);
        let mut file =
            BufReader::with_capacity(1 << 20, File::open(&path).with_context(|| format!("{}", path.display()))?);
        let mut sector = Box::new([0; SECTOR_BYTES]);
        for i in 0..layout.sectors {
            file.read_exact(&mut sector[..]).with_context(|| format!("{} is cut short", path.display()))?;
            found.sectors += 1;
            match filler_generation(&sector, k * layout.sectors + i) {
                Some(0) => {}
                Some(_) => found.rewritten += 1,
                None => found.problem(format!("sector {i} of {} is damaged", path.display())),
            }
        }
    }
    Ok(())
}

/// The filler database is consistent: whole by SQLite's own check, and its sum is the sum of its rows.
fn check_blocks(dir: &Path, layout: &Layout, found: &mut Findings) -> Result<()> {
    for path in [database_path(dir), blocks_path(dir)] {
        let verdict: String = open_to_read(&path)?.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        if verdict != "ok" {
            found.problem(format!("{}: {verdict}", path.display()));
        }
    }
    let (rows, sum, total): (i64, i64, i64) = open_to_read(&blocks_path(dir))?.query_row(
        "SELECT count(*), sum(generation), (SELECT generations FROM total) FROM blocks",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    if u64::try_from(rows)? != layout.rows || sum != total {
        found.problem(format!("the filler database has {rows} rows and generation {sum}; its total says {total}"));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::ledger::record::payload_of;
    use crate::ledger::store::{Store, Submission};
    use std::path::PathBuf;

    fn world_with(records: u64) -> (tempfile::TempDir, Vec<Acknowledged>) {
        let dir = tempfile::tempdir().unwrap();
        Layout::plan(1 << 20).write(dir.path()).unwrap();
        let client: ClientName = "tester".parse().unwrap();
        let batch: Vec<_> = (1..=records)
            .map(|seq| Submission { client: client.clone(), seq, payload: payload_of(&client, seq) })
            .collect();
        let entries = Store::open(dir.path()).unwrap().append(&batch).unwrap();
        (dir, entries.into_iter().map(|e| Acknowledged { client: e.client, seq: e.seq, sum: e.sum }).collect())
    }

    fn damage(path: PathBuf, offset: u64) {
        let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
    }

    #[test]
    fn a_whole_world_has_no_problem_and_every_acknowledged_record() {
        let (dir, acks) = world_with(300);
        let found = world(dir.path(), Some(&acks)).unwrap();
        assert_eq!((found.records, found.acknowledged_found, found.problem_count), (300, 300, 0), "{found:?}");
    }

    #[test]
    fn a_missing_record_is_reported() {
        let (dir, mut acks) = world_with(3);
        acks[2].seq = 4;
        let found = world(dir.path(), Some(&acks)).unwrap();
        assert_eq!((found.acknowledged_found, found.problem_count), (2, 1));
    }

    #[test]
    fn damage_in_each_of_the_places_is_reported() {
        for place in ["sector", "table", "log", "row", "filler"] {
            let (dir, acks) = world_with(5);
            match place {
                "sector" => damage(place_of(dir.path(), 3).0, place_of(dir.path(), 3).1 + 100),
                "table" => damage(place_of(dir.path(), 3).0, 20),
                "log" => damage(logs_path(dir.path()).join("ledger.log"), 30),
                "filler" => damage(Layout::region_path(dir.path(), 1), 5000),
                _ => {
                    let db = Connection::open(database_path(dir.path())).unwrap();
                    assert_eq!(db.execute("DELETE FROM records WHERE n = 3", []).unwrap(), 1);
                }
            }
            let found = world(dir.path(), Some(&acks)).unwrap();
            assert!(found.problem_count > 0, "damage in {place} was not noticed");
        }
    }

    #[test]
    fn a_directory_without_a_world_says_what_to_give() {
        let dir = tempfile::tempdir().unwrap();
        assert!(world(dir.path(), None).unwrap_err().to_string().contains("ledger serve"));
    }
}
