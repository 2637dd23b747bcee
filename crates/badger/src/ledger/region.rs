//! Region files of records: a table in the first sector, one record in each of the others, all rewritten in place.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::record::{Entry, SECTOR_BYTES, Sector, Sum, u64_at};
use super::store::sync_dir;

/// Records in one region file, beside the table in its first sector.
const RECORDS_PER_REGION: u64 = 255;
const TABLE_MAGIC: &[u8; 4] = b"LTB1";

/// Where record `n` has its sector: file and offset in bytes.
pub(crate) fn place_of(dir: &Path, n: u64) -> (PathBuf, u64) {
    let (region, slot) = (n / RECORDS_PER_REGION, 1 + n % RECORDS_PER_REGION);
    (region_path(dir, region), slot * SECTOR_BYTES as u64)
}

fn region_path(dir: &Path, region: u64) -> PathBuf {
    dir.join("records").join(format!("r.{region}.led"))
}

/// Writes the records' sectors and the tables of their regions, durable.
pub(super) fn write_sectors(dir: &Path, open: &mut Option<(u64, File)>, fresh: &[(Entry, &[u8])]) -> Result<()> {
    for (entry, payload) in fresh {
        let region = entry.n / RECORDS_PER_REGION;
        if open.as_ref().is_none_or(|(number, _)| *number != region) {
            if let Some((number, full)) = open.take() {
                finish_region(&full, number, RECORDS_PER_REGION)?;
            }
            *open = Some((region, open_region(dir, region)?));
        }
        let (_, file) = open.as_ref().expect("opened above");
        let (_, offset) = place_of(dir, entry.n);
        file.write_all_at(&entry.to_sector(payload)[..], offset)?;
    }
    if let (Some((number, file)), Some((last, _))) = (open.as_ref(), fresh.last()) {
        finish_region(file, *number, last.n % RECORDS_PER_REGION + 1)?;
    }
    Ok(())
}

fn finish_region(file: &File, region: u64, records: u64) -> Result<()> {
    file.write_all_at(&table_sector(region, records)[..], 0)?;
    file.sync_data().context("cannot make a region durable")
}

fn open_region(dir: &Path, region: u64) -> Result<File> {
    let path = region_path(dir, region);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
    let whole = (1 + RECORDS_PER_REGION) * SECTOR_BYTES as u64;
    if file.metadata()?.len() != whole {
        // A hole until a record fills it: the file has its final size from the first moment, as region files do.
        file.set_len(whole)?;
        file.sync_all()?;
        sync_dir(&dir.join("records"))?;
    }
    Ok(file)
}

/// First sector of a region file: how many records the region holds at least.
fn table_sector(region: u64, records: u64) -> Box<Sector> {
    let mut sector = Box::new([0; SECTOR_BYTES]);
    sector[0..4].copy_from_slice(TABLE_MAGIC);
    sector[8..16].copy_from_slice(&region.to_le_bytes());
    sector[16..24].copy_from_slice(&records.to_le_bytes());
    let sum = Sum::of(&sector[..24]);
    sector[24..40].copy_from_slice(&sum.0);
    sector
}

/// How many records the table of the region that holds `n` promises, or what is wrong with the table.
pub(crate) fn table_covers(sector: &Sector, n: u64) -> Result<()> {
    if &sector[0..4] != TABLE_MAGIC || Sum::of(&sector[..24]).0 != sector[24..40] {
        bail!("the region's table is damaged");
    }
    if u64_at(sector, 8) != n / RECORDS_PER_REGION || u64_at(sector, 16) <= n % RECORDS_PER_REGION {
        bail!("the region's table does not cover the record: an older version of the sector");
    }
    Ok(())
}
