//! The records of a world on disk, each in three places: a sector of a region-like file that is rewritten in place, a
//! line of an appended log, a row of an SQLite database in WAL mode.
//!
//! ```text
//! records/r.<k>.led   256 sectors; sector 0 is a table that each batch rewrites, sectors 1… hold one record each
//! logs/ledger.log     one line a record; full ones become logs/ledger.<k>.log
//! db/ledger.db        table records (n, client, seq, sum)
//! ```
//!
//! The database row is written last: a committed row promises that sector and line are durable. What a crash left
//! half done has no row, was never acknowledged, and its place is taken by the next record.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::record::{ClientName, Entry, Sum};
use super::region::write_sectors;

/// A log of this many bytes is put aside and a new one begun.
const LOG_ROTATE_BYTES: u64 = 4 << 20;

/// Path of the database.
pub(crate) fn database_path(dir: &Path) -> PathBuf {
    dir.join("db/ledger.db")
}

/// Directory of the logs.
pub(crate) fn logs_path(dir: &Path) -> PathBuf {
    dir.join("logs")
}

/// What a client wants to be kept.
#[derive(Clone, Debug)]
pub(crate) struct Submission {
    /// Who.
    pub(crate) client: ClientName,
    /// The client's number.
    pub(crate) seq: u64,
    /// What.
    pub(crate) payload: Vec<u8>,
}

/// The open store. One at a time per directory: the caller holds the world's lock.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    db: Connection,
    log: File,
    log_bytes: u64,
    region: Option<(u64, File)>,
    next: u64,
}

impl Store {
    /// Opens the store in `dir`, or makes it, and takes back what a crash left half done.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        for sub in ["records", "logs", "db"] {
            fs::create_dir_all(dir.join(sub)).with_context(|| format!("cannot make {sub} in {}", dir.display()))?;
        }
        let db = open_database(&database_path(dir))?;
        let next = db.query_row("SELECT coalesce(max(n) + 1, 0) FROM records", [], |row| row.get::<_, i64>(0))?;
        let (log, log_bytes) = open_log(&logs_path(dir).join("ledger.log"))?;
        sync_dir(&logs_path(dir))?;
        Ok(Self { dir: dir.to_owned(), db, log, log_bytes, region: None, next: u64::try_from(next)? })
    }

    /// Records in the store.
    pub(crate) fn len(&self) -> u64 {
        self.next
    }

    /// Makes a batch durable in all three places and returns its entries. A record that is there already is not
    /// written again; the same number with another payload is an error of the client and takes the batch down.
    pub(crate) fn append(&mut self, batch: &[Submission]) -> Result<Vec<Entry>> {
        let tx = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
        let (mut entries, mut fresh, mut next) = (Vec::with_capacity(batch.len()), Vec::new(), self.next);
        for item in batch {
            let sum = Sum::of(&item.payload);
            let entry = match row_of(&tx, &item.client, item.seq)? {
                Some(entry) if entry.sum == sum => entry,
                Some(_) => bail!("record {} of {} is there with another payload", item.seq, item.client),
                None => {
                    let entry = Entry { n: next, client: item.client.clone(), seq: item.seq, sum };
                    next += 1;
                    row_insert(&tx, &entry)?;
                    fresh.push((entry.clone(), item.payload.as_slice()));
                    entry
                }
            };
            entries.push(entry);
        }
        write_sectors(&self.dir, &mut self.region, &fresh)?;
        write_lines(&mut self.log, &mut self.log_bytes, &fresh)?;
        tx.commit()?;
        self.next = next;
        if self.log_bytes > LOG_ROTATE_BYTES {
            self.rotate_log()?;
        }
        Ok(entries)
    }

    /// The client's highest number, 0 if there is none.
    pub(crate) fn last_seq(&self, client: &ClientName) -> Result<u64> {
        let last: i64 = self
            .db
            .prepare_cached("SELECT coalesce(max(seq), 0) FROM records WHERE client = ?1")?
            .query_row([client.as_str()], |row| row.get(0))?;
        Ok(u64::try_from(last)?)
    }

    /// Folds the write-ahead log into the database.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).context("cannot checkpoint")
    }

    /// Puts the full log aside by renaming it, as a game's log rotation does.
    fn rotate_log(&mut self) -> Result<()> {
        let logs = logs_path(&self.dir);
        let live = logs.join("ledger.log");
        let aside = (1..=u32::MAX).map(|k| logs.join(format!("ledger.{k}.log"))).find(|p| !p.exists());
        fs::rename(&live, aside.context("there are too many logs")?)?;
        (self.log, self.log_bytes) = open_log(&live)?;
        sync_dir(&logs)?;
        Ok(())
    }
}

fn open_database(path: &Path) -> Result<Connection> {
    let db = Connection::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 500;
         CREATE TABLE IF NOT EXISTS records (
             n      INTEGER PRIMARY KEY,
             client TEXT NOT NULL,
             seq    INTEGER NOT NULL,
             sum    BLOB NOT NULL,
             UNIQUE (client, seq)
         );",
    )
    .with_context(|| format!("cannot prepare {}", path.display()))?;
    Ok(db)
}

/// The entry in a client's row, if there is one.
pub(crate) fn row_of(db: &Connection, client: &ClientName, seq: u64) -> Result<Option<Entry>> {
    let row: Option<(i64, Vec<u8>)> = db
        .prepare_cached("SELECT n, sum FROM records WHERE client = ?1 AND seq = ?2")?
        .query_row(params![client.as_str(), i64::try_from(seq)?], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((n, sum)) = row else { return Ok(None) };
    let sum = Sum(sum.try_into().ok().context("a row's checksum has not 16 bytes")?);
    Ok(Some(Entry { n: u64::try_from(n)?, client: client.clone(), seq, sum }))
}

fn row_insert(db: &Connection, entry: &Entry) -> Result<()> {
    db.prepare_cached("INSERT INTO records (n, client, seq, sum) VALUES (?1, ?2, ?3, ?4)")?.execute(params![
        i64::try_from(entry.n)?,
        entry.client.as_str(),
        i64::try_from(entry.seq)?,
        &entry.sum.0[..]
    ])?;
    Ok(())
}

/// Appends the records' lines, durable. What a failed write left is cut off again.
fn write_lines(log: &mut File, log_bytes: &mut u64, fresh: &[(Entry, &[u8])]) -> Result<()> {
    if fresh.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    for (entry, _) in fresh {
        text.push_str(&entry.to_line());
        text.push('\n');
    }
    if let Err(e) = log.write_all(text.as_bytes()).and_then(|()| log.sync_data()) {
        log.set_len(*log_bytes).context("cannot cut a half-written line off the log")?;
        return Err(e).context("cannot append to the log");
    }
    *log_bytes += text.len() as u64;
    Ok(())
}

/// Opens the log for appending; a last line without an end, which a crash left, is cut off.
fn open_log(path: &Path) -> Result<(File, u64)> {
    let log = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let mut length = log.metadata()?.len();
    let tail_from = length.saturating_sub(64 << 10);
    let mut tail = vec![0; usize::try_from(length - tail_from)?];
    log.read_exact_at(&mut tail, tail_from)?;
    let keep = tail.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    if keep < tail.len() {
        length = tail_from + keep as u64;
        log.set_len(length)?;
        log.sync_all()?;
    }
    Ok((log, length))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::ledger::record::payload_of;

    fn submissions(client: &str, range: std::ops::RangeInclusive<u64>) -> Vec<Submission> {
        let client: ClientName = client.parse().unwrap();
        range.map(|seq| Submission { payload: payload_of(&client, seq), client: client.clone(), seq }).collect()
    }

    #[test]
    fn a_record_sent_twice_is_kept_once_also_within_one_batch() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let mut batch = submissions("a", 1..=3);
        batch.extend(submissions("a", 2..=4));
        let numbers: Vec<u64> = store.append(&batch).unwrap().iter().map(|e| e.n).collect();
        assert_eq!(numbers, [0, 1, 2, 1, 2, 3]);
        assert_eq!(store.len(), 4);
    }

    #[test]
    fn a_number_with_another_payload_is_refused_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        store.append(&submissions("a", 1..=1)).unwrap();
        let mut bad = submissions("a", 1..=2);
        bad[0].payload.push(0);
        assert!(store.append(&bad).is_err());
        assert_eq!(store.len(), 1);
        assert_eq!(store.append(&submissions("a", 1..=2)).unwrap()[1].n, 1);
    }

    #[test]
    fn numbers_go_on_after_a_restart_and_over_region_and_log_ends() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        store.append(&submissions("a", 1..=300)).unwrap();
        store.rotate_log().unwrap();
        drop(store);
        let mut store = Store::open(dir.path()).unwrap();
        assert_eq!(store.append(&submissions("b", 1..=1)).unwrap()[0].n, 300);
        assert_eq!(store.last_seq(&"a".parse().unwrap()).unwrap(), 300);
        assert!(dir.path().join("logs/ledger.1.log").exists());
        assert!(dir.path().join("records/r.1.led").exists());
    }

    #[test]
    fn a_torn_last_line_is_cut_off_when_the_log_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path()).unwrap());
        let path = dir.path().join("logs/ledger.log");
        fs::write(&path, "whole\ntor").unwrap();
        drop(Store::open(dir.path()).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\n");
    }
}
