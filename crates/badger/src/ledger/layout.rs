//! The filler of a world: what a server of a given size has on its disk besides its records.
//!
//! Shares of the size: region files of 4 KiB sectors 68 %, archives 14 % (both incompressible), logs 4 % and small JSON
//! files 6 % (both compressible), a database 8 %. Everything is cut out of one pseudo-random pool, so a gigabyte is laid
//! out at the speed of the disk. The marker file is written last: a layout that was interrupted is simply done again.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::record::{SECTOR_BYTES, Sector, Sum, u64_at};
use super::store::sync_dir;

/// Bytes of a large region file.
const REGION_BYTES: u64 = 8 << 20;
const POOL_BYTES: usize = 4 << 20;
const SECTOR_MAGIC: &[u8; 4] = b"SCT1";
const SECTOR_HEADER_BYTES: usize = 48;
/// Bytes of a row's body in the filler database.
const ROW_BYTES: usize = 1024;

/// What was laid out. Its file is the marker that the layout is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layout {
    /// Version of this format.
    pub(crate) version: u32,
    /// Bytes asked for.
    pub(crate) size_bytes: u64,
    /// Number of region files.
    pub(crate) regions: u64,
    /// Sectors in each.
    pub(crate) sectors: u64,
    /// Rows of the filler database.
    pub(crate) rows: u64,
}

impl Layout {
    /// How a world of about `size_bytes` is divided.
    pub(crate) fn plan(size_bytes: u64) -> Self {
        let region_share = size_bytes / 100 * 68;
        let regions = region_share.div_ceil(REGION_BYTES).max(4);
        let sectors = (region_share / regions / SECTOR_BYTES as u64).max(4);
        Self { version: 1, size_bytes, regions, sectors, rows: (size_bytes / 100 * 8 / ROW_BYTES as u64).max(16) }
    }

    /// Path of the marker.
    pub(crate) fn path(dir: &Path) -> PathBuf {
        dir.join("world.json")
    }

    /// The layout of the world in `dir`, if it was completed.
    pub(crate) fn load(dir: &Path) -> Result<Option<Self>> {
        let path = Self::path(dir);
        match fs::read(&path) {
            Ok(bytes) => {
                Ok(Some(serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Lays the world out and writes the marker.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        for sub in ["world/region", "libraries", "logs", "plugins", "players", "cache"] {
            fs::create_dir_all(dir.join(sub))?;
        }
        let pool = Pool::new();
        self.write_regions(dir, &pool)?;
        self.write_archives(dir, &pool)?;
        self.write_logs(dir)?;
        self.write_small_files(dir)?;
        self.write_database(dir, &pool)?;
        self.write_oddities(dir)?;
        replace_file(&Self::path(dir), &serde_json::to_vec_pretty(self)?)
    }

    /// Path of region file `k`.
    pub(crate) fn region_path(dir: &Path, k: u64) -> PathBuf {
        dir.join("world/region").join(format!("r.{}.{}.mca", k % 8, k / 8))
    }

    fn write_regions(&self, dir: &Path, pool: &Pool) -> Result<()> {
        for k in 0..self.regions {
            let mut out = BufWriter::with_capacity(1 << 20, File::create(Self::region_path(dir, k))?);
            for i in 0..self.sectors {
                out.write_all(&filler_sector(pool, k * self.sectors + i, 0)[..])?;
            }
            out.flush()?;
        }
        Ok(())
    }

    fn write_archives(&self, dir: &Path, pool: &Pool) -> Result<()> {
        let share = self.size_bytes / 100 * 14;
        let count = share.div_ceil(16 << 20).max(2);
        for k in 0..count {
            let mut out =
                BufWriter::with_capacity(1 << 20, File::create(dir.join(format!("libraries/library-{k}.jar")))?);
            let (mut left, mut step) = (share / count, k);
            while left > 0 {
                let piece = left.min(64 << 10);
                out.write_all(pool.cut(step.wrapping_mul(0x9E37_79B9_7F4A_7C15), usize::try_from(piece)?))?;
                (left, step) = (left - piece, step + count);
            }
            out.flush()?;
        }
        Ok(())
    }

    fn write_logs(&self, dir: &Path) -> Result<()> {
        let share = self.size_bytes / 100 * 4;
        for day in 0..4u64 {
            let mut out =
                BufWriter::with_capacity(1 << 20, File::create(dir.join(format!("logs/2026-01-0{}.log", day + 1)))?);
            let (mut left, mut i) = (share / 4, day);
            while left > 0 {
                let line = filler_line(i);
                out.write_all(line.as_bytes())?;
                (left, i) = (left.saturating_sub(line.len() as u64), i + 1);
            }
            out.flush()?;
        }
        Ok(())
    }

    fn write_small_files(&self, dir: &Path) -> Result<()> {
        let count = (self.size_bytes / 100 * 6 / 8192).clamp(8, 20_000);
        for k in 0..count {
            if k % 256 == 0 {
                fs::create_dir_all(dir.join(format!("world/stats/{:02x}", k / 256)))?;
            }
            let body = format!("{{\"player\": {k}, \"mined\": \"stone\", \"amount\": {}}}\n", k * 7919 % 10_007);
            let repeat = 40 + usize::try_from(k % 229)?;
            fs::write(dir.join(format!("world/stats/{:02x}/{k}.json", k / 256)), body.repeat(repeat))?;
        }
        Ok(())
    }

    fn write_database(&self, dir: &Path, pool: &Pool) -> Result<()> {
        let path = blocks_path(dir);
        for stale in ["", "-wal", "-shm"] {
            remove_if_there(&path.with_file_name(format!("blocks.db{stale}")))?;
        }
        let mut db = Connection::open(&path)?;
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
             CREATE TABLE blocks (id INTEGER PRIMARY KEY, generation INTEGER NOT NULL, body BLOB NOT NULL);
             CREATE TABLE total (generations INTEGER NOT NULL);
             INSERT INTO total VALUES (0);",
        )?;
        let tx = db.transaction()?;
        {
            let mut insert = tx.prepare("INSERT INTO blocks VALUES (?1, 0, ?2)")?;
            for id in 0..self.rows {
                insert.execute(params![i64::try_from(id)?, pool.cut(id.wrapping_mul(7919), ROW_BYTES)])?;
            }
        }
        tx.commit()?;
        Ok(())
    }

    /// What real servers also have: a symlink, a sparse file, an empty directory, an unusual mode, an odd name.
    fn write_oddities(&self, dir: &Path) -> Result<()> {
        let latest = dir.join("logs/yesterday.log");
        remove_if_there(&latest)?;
        std::os::unix::fs::symlink("2026-01-04.log", latest)?;
        let sparse = File::create(dir.join("cache/heightmap.bin"))?;
        sparse.set_len(self.size_bytes.clamp(1 << 20, 64 << 20))?;
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"height", 512 << 10)?;
        fs::create_dir_all(dir.join("plugins/empty"))?;
        let start = dir.join("players/Jürgen Größe.dat");
        fs::write(&start, "a name that is not ASCII\n")?;
        fs::set_permissions(&start, std::os::unix::fs::PermissionsExt::from_mode(0o640))?;
        Ok(())
    }
}

/// Path of the filler database.
pub(crate) fn blocks_path(dir: &Path) -> PathBuf {
    dir.join("plugins/blocks.db")
}

/// Incompressible bytes to cut pieces from.
#[derive(Debug)]
pub(crate) struct Pool(Vec<u8>);

impl Pool {
    /// The pool: the same bytes each time.
    pub(crate) fn new() -> Self {
        let mut bytes = vec![0; POOL_BYTES];
        blake3::Hasher::new().update(b"ledger pool").finalize_xof().fill(&mut bytes);
        Self(bytes)
    }

    /// `length` bytes at a place that `key` chooses.
    pub(crate) fn cut(&self, key: u64, length: usize) -> &[u8] {
        let room = self.0.len() - length + 1;
        let at = usize::try_from(key % room as u64).expect("less than the pool");
        &self.0[at..at + length]
    }
}

/// Sector `index` of the filler in its `generation`-th version. Every eighth is half zeros, as padded chunks are.
pub(crate) fn filler_sector(pool: &Pool, index: u64, generation: u64) -> Box<Sector> {
    let mut sector = Box::new([0; SECTOR_BYTES]);
    let length = if index.is_multiple_of(8) { SECTOR_BYTES / 2 } else { SECTOR_BYTES - SECTOR_HEADER_BYTES };
    let key = index.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ generation.wrapping_mul(0xD1B5_4A32_D192_ED03);
    sector[0..4].copy_from_slice(SECTOR_MAGIC);
    sector[8..16].copy_from_slice(&index.to_le_bytes());
    sector[16..24].copy_from_slice(&generation.to_le_bytes());
    sector[SECTOR_HEADER_BYTES..SECTOR_HEADER_BYTES + length].copy_from_slice(pool.cut(key, length));
    let sum = filler_sum(&sector);
    sector[32..48].copy_from_slice(&sum.0);
    sector
}

/// The generation of filler sector `index`; none if the sector is not whole.
pub(crate) fn filler_generation(sector: &Sector, index: u64) -> Option<u64> {
    let whole = &sector[0..4] == SECTOR_MAGIC && u64_at(sector, 8) == index && filler_sum(sector).0 == sector[32..48];
    whole.then(|| u64_at(sector, 16))
}

fn filler_sum(sector: &Sector) -> Sum {
    let hash = blake3::Hasher::new().update(&sector[..32]).update(&sector[SECTOR_HEADER_BYTES..]).finalize();
    let mut sum = [0; 16];
    sum.copy_from_slice(&hash.as_bytes()[..16]);
    Sum(sum)
}

/// A line of chatter for a log.
pub(crate) fn filler_line(i: u64) -> String {
    const SAID: [&str; 6] = ["hello", "lag?", "nice base", "who has diamonds", "brb", "gg"];
    let (h, m, s) = (i / 3600 % 24, i / 60 % 60, i % 60);
    let said = SAID[usize::try_from(i % 6).expect("less than six")];
    format!("[{h:02}:{m:02}:{s:02}] [Server thread/INFO]: <Player{}> {said} {}\n", i * 31 % 200, i * 7919 % 30_000)
}

/// Replaces a file as a careful program does: temporary name, contents durable, rename, directory durable.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_dir(path.parent().context("a file has a directory")?)?;
    Ok(())
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tree_bytes(dir: &Path) -> u64 {
        use std::os::unix::fs::MetadataExt;
        fs::read_dir(dir)
            .unwrap()
            .map(|entry| {
                let (entry, meta) = entry.map(|e| (e.path(), e.metadata().unwrap())).unwrap();
                if meta.is_dir() { tree_bytes(&entry) } else { meta.blocks() * 512 }
            })
            .sum()
    }

    #[test]
    fn a_world_has_about_the_size_asked_for_and_can_be_laid_out_twice() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::plan(32 << 20);
        assert_eq!(Layout::load(dir.path()).unwrap(), None);
        layout.write(dir.path()).unwrap();
        layout.write(dir.path()).unwrap();
        assert_eq!(Layout::load(dir.path()).unwrap(), Some(layout));
        let bytes = tree_bytes(dir.path());
        assert!((28 << 20..40 << 20).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_damaged_filler_sector_is_noticed() {
        let pool = Pool::new();
        let good = filler_sector(&pool, 9, 3);
        assert_eq!(filler_generation(&good, 9), Some(3));
        assert_eq!(filler_generation(&good, 10), None);
        for at in [0, 8, 16, 31, 33, 48, 4095] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(filler_generation(&bad, 9), None, "byte {at}");
        }
    }
}
