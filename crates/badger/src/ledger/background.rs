//! The game that goes on without its players: keeps the world dirty at a given rate.
//!
//! Ten times a second it rewrites random sectors of the hot quarter of the region files in place. Every second it saves
//! as games do: a log grows, a player's file is replaced by rename, `level.dat` is replaced while its former version
//! stays as a hard link, rows are updated in a database; now and then a file is cut short or gets a hole.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::{Connection, params};
use rustix::fs::{FallocateFlags, fallocate};

use super::layout::{Layout, Pool, blocks_path, filler_generation, filler_line, filler_sector, replace_file};
use super::record::SECTOR_BYTES;
use crate::signals::Stop;

const TICK: Duration = Duration::from_millis(100);
const TICKS_PER_SAVE: u64 = 10;

/// The writer's state.
#[derive(Debug)]
pub(crate) struct Background {
    dir: PathBuf,
    layout: Layout,
    pool: Pool,
    /// One handle for each hot region file, opened when it is first written.
    regions: Vec<Option<File>>,
    db: Connection,
    log: File,
    random: Random,
    bytes_per_tick: u64,
    ticks: u64,
}

impl Background {
    /// Opens what it writes to; `rate` is bytes of sectors per second.
    pub(crate) fn open(dir: &Path, layout: Layout, rate: u64) -> Result<Self> {
        let db = Connection::open(blocks_path(dir))?;
        db.busy_timeout(Duration::from_secs(5))?;
        db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 500;")?;
        let log = OpenOptions::new().append(true).create(true).open(dir.join("logs/latest.log"))?;
        let hot = usize::try_from(layout.regions.div_ceil(4))?;
        Ok(Self {
            dir: dir.to_owned(),
            pool: Pool::new(),
            regions: (0..hot).map(|_| None).collect(),
            db,
            log,
            random: Random(u64::from(std::process::id()) << 20 | 0xBADE),
            bytes_per_tick: rate / 10,
            layout,
            ticks: 0,
        })
    }

    /// Plays until `stop`, then saves.
    pub(crate) fn run(mut self, stop: &Stop) -> Result<()> {
        while !stop.wait(TICK) {
            self.tick().context("cannot write to the world")?;
        }
        self.flush()
    }

    fn tick(&mut self) -> Result<()> {
        self.ticks += 1;
        for _ in 0..self.bytes_per_tick / SECTOR_BYTES as u64 {
            self.rewrite_sector()?;
        }
        if self.bytes_per_tick > 0 && self.ticks.is_multiple_of(TICKS_PER_SAVE) {
            self.save()?;
        }
        Ok(())
    }

    fn rewrite_sector(&mut self) -> Result<()> {
        let region = self.random.below(self.regions.len() as u64);
        let slot = self.random.below(self.layout.sectors);
        let (index, offset) = (region * self.layout.sectors + slot, slot * SECTOR_BYTES as u64);
        let file = match &mut self.regions[usize::try_from(region)?] {
            Some(file) => file,
            none => {
                let path = Layout::region_path(&self.dir, region);
                none.insert(OpenOptions::new().read(true).write(true).open(path)?)
            }
        };
        let mut sector = Box::new([0; SECTOR_BYTES]);
        file.read_exact_at(&mut sector[..], offset)?;
        let generation = filler_generation(&sector, index)
            .with_context(|| format!("sector {slot} of region {region} is damaged: the world was not carried whole"))?;
        file.write_all_at(&filler_sector(&self.pool, index, generation + 1)[..], offset)?;
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        let k = self.ticks / TICKS_PER_SAVE;
        for i in 0..5 {
            self.log.write_all(filler_line(k * 5 + i).as_bytes())?;
        }
        let player = self.dir.join(format!("players/player-{}.dat", k % 12));
        replace_file(&player, self.pool.cut(self.random.next(), 900 + usize::try_from(k % 700)?))?;
        self.save_level(k)?;
        self.save_rows()?;
        self.save_cache(k)
    }

    /// `level.dat` is replaced; what it was stays as `level.dat_old`, for a moment the same inode under two names.
    fn save_level(&self, k: u64) -> Result<()> {
        let (level, old) = (self.dir.join("level.dat"), self.dir.join("level.dat_old"));
        if level.exists() {
            if old.exists() {
                fs::remove_file(&old)?;
            }
            fs::hard_link(&level, &old)?;
        }
        // Every fifth second the two names stay one file.
        if k.is_multiple_of(5) && level.exists() {
            return Ok(());
        }
        replace_file(&level, format!("{{\"saves\": {k}, \"random\": {}}}\n", self.random.0).as_bytes())
    }

    fn save_rows(&mut self) -> Result<()> {
        let tx = self.db.transaction()?;
        for _ in 0..4 {
            let id = i64::try_from(self.random.below(self.layout.rows))?;
            let body = self.pool.cut(self.random.next(), 1024);
            let changed = tx
                .execute("UPDATE blocks SET generation = generation + 1, body = ?1 WHERE id = ?2", params![body, id])?;
            tx.execute("UPDATE total SET generations = generations + ?1", [i64::try_from(changed)?])?;
        }
        tx.commit()?;
        Ok(())
    }

    /// A scratch file that grows, is cut short, and gets holes.
    fn save_cache(&mut self, k: u64) -> Result<()> {
        let path = self.dir.join("cache/chunks.tmp");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let length = file.metadata()?.len();
        file.write_all_at(self.pool.cut(self.random.next(), 24 << 10), length)?;
        if length > 512 << 10 {
            file.set_len(self.random.below(length))?;
        } else if k.is_multiple_of(3) && length > 64 << 10 {
            fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 16 << 10, 32 << 10)?;
        }
        Ok(())
    }

    fn flush(self) -> Result<()> {
        for region in self.regions.iter().flatten() {
            region.sync_data()?;
        }
        self.log.sync_data()?;
        self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        self.db.close().map_err(|(_, e)| e).context("cannot close the filler database")
    }
}

/// A small pseudo-random sequence (`SplitMix64`): quick, and good enough to choose sectors.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::ledger::verify;

    #[test]
    fn a_world_that_is_played_stays_whole() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::plan(4 << 20);
        layout.write(dir.path()).unwrap();
        drop(crate::ledger::store::Store::open(dir.path()).unwrap());
        let mut background = Background::open(dir.path(), layout, 4 << 20).unwrap();
        for _ in 0..400 {
            background.tick().unwrap();
        }
        background.flush().unwrap();
        let found = verify::world(dir.path(), None).unwrap();
        assert_eq!(found.problems, Vec::<String>::new());
        assert!(found.sectors > 500, "{}", found.sectors);
        assert!(found.rewritten > 50, "{}", found.rewritten);
    }
}
