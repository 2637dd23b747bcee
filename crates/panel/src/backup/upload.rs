//! Making one backup: measure, upload in turns, put together, read back.
//!
//! Nothing of it is kept in memory alone that a failure would need: what the storage may hold is named by the row from
//! before the first byte.

use model::agent_api::{Reply, Request};
use model::{BackupAction, BackupResult, SignedObject, SignedPart};

use super::turn::{Partner, ask, turn};
use super::{Backups, storage_failure};
use crate::backup::storage::Storage;
use crate::db::backups::{self, Backup, BackupFailure, Uploaded};

/// Parts of one object.
const MOST_PARTS: u64 = 10_000;
/// Bytes of a part of anything up to 80 GiB. Two of them are in the agent's memory.
const PART_BYTES: u64 = 16 << 20;
/// Larger ones no storage takes.
const LARGEST_PART_BYTES: u64 = 5 << 30;
/// Headers of one member, generously.
const MEMBER_BYTES: u64 = 4096;
/// Addresses that a turn brings: more than an agent gets through meanwhile.
const ADDRESSES: u64 = 8;

/// A tree may grow to twice its size while it is read, and compress to nothing less than itself.
fn part_bytes(tree_bytes: u64, files: u64) -> u64 {
    let most = tree_bytes.saturating_add(files.saturating_mul(MEMBER_BYTES)).saturating_mul(2);
    most.div_ceil(MOST_PARTS).next_multiple_of(1 << 20).clamp(PART_BYTES, LARGEST_PART_BYTES)
}

impl Backups {
    /// From measuring to verified. May be dropped anywhere: then somebody has to clear what is left.
    pub(super) async fn upload(&self, backup: &Backup, storage: &Storage) -> Result<(), BackupFailure> {
        let with = Partner { node: backup.node_id, backup: backup.id, server: backup.server_id, away: self.pace.away };
        let measured =
            ask(&*self.agents, with, self.pace.away, Request::MeasureServer { server_id: with.server }).await?;
        let Reply::Measured { bytes, files, .. } = measured else {
            return Err(BackupFailure::new("unexpected_reply", "The agent did not say how big the server is."));
        };
        let upload = storage.begin(&backup.object_key).await.map_err(storage_failure)?;
        let (uploaded, etags) = self.upload_parts(backup, storage, &upload, part_bytes(bytes, files), with).await?;
        storage.complete(&backup.object_key, &upload, etags).await.map_err(storage_failure)?;
        let length = storage.length(&backup.object_key).await.map_err(storage_failure)?;
        if length != uploaded.bytes {
            let message =
                format!("The storage made an object of {length} bytes out of {} that were sent.", uploaded.bytes);
            return Err(BackupFailure::new("storage_failed", message));
        }
        let mut conn = self.db.acquire().await.map_err(db_failure)?;
        backups::backup_uploaded(&mut conn, backup.id, &uploaded).await.map_err(db_failure)?;
        drop(conn);
        self.read_back(backup, storage, &uploaded, with).await
    }

    async fn upload_parts(
        &self,
        backup: &Backup,
        storage: &Storage,
        upload: &str,
        part_bytes: u64,
        with: Partner,
    ) -> Result<(Uploaded, Vec<String>), BackupFailure> {
        let mut etags: Vec<String> = Vec::new();
        loop {
            let known = etags.len() as u64;
            if known >= MOST_PARTS {
                let message = "The server grew to more than twice its size while it was read. Try again.";
                return Err(BackupFailure::new("grew_too_much", message));
            }
            // Fresh ones each time: an address that has ended is asked for again, and none is kept for long.
            let numbers = (known + 1..=(known + ADDRESSES).min(MOST_PARTS)).filter_map(|n| u16::try_from(n).ok());
            let sign = |number| SignedPart {
                number: u32::from(number),
                url: storage.part_url(&backup.object_key, upload, number, self.pace.address),
            };
            let action = BackupAction::Upload {
                part_bytes,
                parts: numbers.map(sign).collect(),
                known: u32::try_from(known).unwrap_or(u32::MAX),
                wait_ms: self.wait_ms(),
            };
            let stand = turn(&*self.agents, with, self.pace.wait, action).await?;
            self.note(backup, &stand.progress).await;
            for part in stand.parts {
                if u64::from(part.number) != etags.len() as u64 + 1 {
                    let message = format!("The agent tells of part {} after part {}.", part.number, etags.len());
                    return Err(BackupFailure::new("unexpected_reply", message));
                }
                etags.push(part.etag);
            }
            if let Some(BackupResult::Uploaded { contents, bytes, changed, changed_count, left_out }) = stand.result {
                return Ok((Uploaded { contents, bytes, changed, changed_count, left_out }, etags));
            }
        }
    }

    async fn read_back(
        &self,
        backup: &Backup,
        storage: &Storage,
        uploaded: &Uploaded,
        with: Partner,
    ) -> Result<(), BackupFailure> {
        loop {
            let url = storage.object_url(&backup.object_key, self.pace.address);
            let object = SignedObject { url, bytes: uploaded.bytes };
            let action = BackupAction::Verify { object, wait_ms: self.wait_ms() };
            let stand = turn(&*self.agents, with, self.pace.wait, action).await?;
            let Some(BackupResult::Read { sha256 }) = stand.result else { continue };
            if sha256 == uploaded.contents.sha256 {
                return Ok(());
            }
            let message = "The storage gives back something else than was sent. Check its disks and what is between it \
                           and the agent.";
            return Err(BackupFailure::new("roots_differ", message));
        }
    }

    fn wait_ms(&self) -> u64 {
        u64::try_from(self.pace.wait.as_millis()).unwrap_or(u64::MAX)
    }

    /// For people. What cannot be noted now will be in the next turn.
    async fn note(&self, backup: &Backup, progress: &model::BackupProgress) {
        let noted = async {
            let mut conn = self.db.acquire().await?;
            backups::backup_progress(&mut conn, backup.id, progress).await
        };
        if let Err(error) = noted.await {
            tracing::warn!(backup = %backup.id, %error, "how far the backup is could not be noted");
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "made for map_err")]
pub(super) fn db_failure(error: crate::db::DbError) -> BackupFailure {
    BackupFailure::new("database", format!("The panel's database failed: {error}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_fits_on_a_disk_fits_into_parts() {
        assert_eq!(part_bytes(0, 0), 16 << 20);
        assert_eq!(part_bytes(20 << 30, 100_000), 16 << 20);
        for tree in [100_u64 << 30, 1 << 40, 20 << 40] {
            let part = part_bytes(tree, 1_000_000);
            assert!(part * MOST_PARTS >= 2 * tree && part.is_multiple_of(1 << 20), "{tree}: {part}");
        }
        assert_eq!(part_bytes(u64::MAX, u64::MAX), LARGEST_PART_BYTES);
    }
}
