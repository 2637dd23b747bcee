//! What a migration of the demo can prove, for people and for programs.

use anyhow::{Result, ensure};
use serde::Serialize;
use serde_json::Value;

use super::setup::text;
use crate::client::field;
use crate::ledger::play::Outcome;
use crate::ledger::verify::Findings;
use crate::units;

/// Tree roots of both sides, hex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Roots {
    /// Computed by the source.
    pub(crate) source: String,
    /// Computed by the target from its own disk.
    pub(crate) target: String,
}

/// The receipt, as `--json` prints it. Times in milliseconds, sizes in bytes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Receipt {
    transfer_id: String,
    server_id: String,
    state: String,
    /// From the end of the game on the source to its start on the target.
    freeze_ms: Option<u64>,
    /// From its start on the target until it was up.
    boot_ms: Option<u64>,
    /// The longest time that the client was without an acknowledgement.
    outage_ms: u64,
    files: Option<u64>,
    bytes_total: Option<u64>,
    bytes_live: Option<u64>,
    bytes_frozen: Option<u64>,
    bytes_wire: Option<u64>,
    rounds: Option<u64>,
    final_round_ms: Option<u64>,
    roots: Roots,
    old_address: String,
    new_address: String,
    records_acknowledged: u64,
    records_verified: u64,
    reconnects: u64,
    /// Records and sectors that were checked from the files of the stopped server; null while it stays up.
    world: Option<Findings>,
}

impl Receipt {
    /// The receipt of a completed transfer. Fails if it does not prove what it must.
    pub(crate) fn new(transfer: &Value, outcome: &Outcome, world: Option<Findings>) -> Result<Self> {
        let copy = |name: &str| transfer["receipt"][name].as_u64();
        let receipt = Self {
            transfer_id: text(transfer, "id")?,
            server_id: text(transfer, "server_id")?,
            state: text(transfer, "state")?,
            freeze_ms: transfer["freeze_ms"].as_u64(),
            boot_ms: transfer["boot_ms"].as_u64(),
            outage_ms: outcome.stats.longest_gap_ms,
            files: copy("files"),
            bytes_total: copy("bytes_total"),
            bytes_live: copy("bytes_live"),
            bytes_frozen: copy("bytes_frozen"),
            bytes_wire: copy("bytes_wire"),
            rounds: copy("rounds"),
            final_round_ms: copy("final_round_ms"),
            roots: Roots { source: text(&transfer["roots"], "source")?, target: text(&transfer["roots"], "target")? },
            old_address: field(transfer, "source.allocation"),
            new_address: field(transfer, "target.allocation"),
            records_acknowledged: outcome.stats.acknowledged,
            records_verified: outcome.verified,
            reconnects: outcome.stats.reconnects,
            world,
        };
        receipt.check(outcome)?;
        Ok(receipt)
    }

    fn check(&self, outcome: &Outcome) -> Result<()> {
        ensure!(self.state == "completed", "the transfer is {}", self.state);
        ensure!(self.roots.source == self.roots.target, "the tree roots differ: {:?}", self.roots);
        ensure!(!self.roots.source.is_empty(), "there is no tree root");
        let missing = outcome.missing.iter().take(5).cloned().collect::<Vec<_>>().join("; ");
        ensure!(outcome.is_whole(), "acknowledged records are missing: {missing}");
        ensure!(outcome.stats.acknowledged > 0, "no record was acknowledged, so nothing is proven");
        if let Some(world) = &self.world {
            ensure!(world.problem_count == 0, "the world is damaged: {}", world.problems.join("; "));
            ensure!(
                world.acknowledged_found == self.records_acknowledged,
                "only {} of {} acknowledged records are in the files",
                world.acknowledged_found,
                self.records_acknowledged
            );
        }
        Ok(())
    }

    /// For people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let unknown = || "unknown".to_owned();
        let millis = |ms: Option<u64>| ms.map_or_else(unknown, units::millis);
        let bytes = |n: Option<u64>| n.map_or_else(unknown, units::bytes);
        let freeze = self.freeze_ms.map_or_else(unknown, |ms| format!("{ms} ms"));
        let mut facts = vec![
            ("freeze", format!("{freeze} from the end of the game on the source to its start on the target")),
            ("boot", format!("{} until the game was up again", millis(self.boot_ms))),
            ("client's outage", format!("{} without an acknowledgement", units::millis(self.outage_ms))),
            ("copied while running", bytes(self.bytes_live)),
            ("copied while frozen", bytes(self.bytes_frozen)),
            ("on the wire", bytes(self.bytes_wire)),
            ("tree root, source", self.roots.source.clone()),
            ("tree root, target", self.roots.target.clone()),
            ("old address", self.old_address.clone()),
            ("new address", self.new_address.clone()),
            ("records", format!("{} acknowledged, {} verified", self.records_acknowledged, self.records_verified)),
        ];
        if let Some(world) = &self.world {
            let text = format!("{} records and {} sectors checked from the files", world.records, world.sectors);
            facts.push(("world", format!("{text}, no problem")));
        }
        facts.into_iter().map(|(name, text)| format!("  {name:22}{text}")).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::ledger::play::Stats;
    use serde_json::json;

    fn transfer() -> Value {
        json!({
            "id": "t", "server_id": "s", "state": "completed", "freeze_ms": 312,
            "roots": {"source": "aa", "target": "aa"},
            "source": {"allocation": {"ip_address": "127.0.0.1", "port": 1}},
            "target": {"allocation": {"ip_address": "127.0.0.1", "port": 2}},
            "receipt": {"bytes_live": 5, "bytes_frozen": 6},
        })
    }

    fn outcome() -> Outcome {
        Outcome { stats: Stats { acknowledged: 9, ..Stats::default() }, verified: 9, missing: Vec::new() }
    }

    #[test]
    fn a_whole_migration_gives_a_receipt_with_the_documented_names() {
        let receipt = Receipt::new(&transfer(), &outcome(), None).unwrap();
        let json = serde_json::to_value(&receipt).unwrap();
        assert_eq!(json["roots"], json!({"source": "aa", "target": "aa"}));
        assert_eq!((json["freeze_ms"].as_u64(), json["new_address"].as_str()), (Some(312), Some("127.0.0.1:2")));
        assert!(receipt.lines().iter().any(|line| line.contains("312 ms")));
    }

    #[test]
    fn a_receipt_that_proves_too_little_is_an_error() {
        let mut differ = transfer();
        differ["roots"]["target"] = "bb".into();
        let mut unfinished = transfer();
        unfinished["state"] = "rolled_back".into();
        let mut unknown = transfer();
        unknown["roots"]["target"] = Value::Null;
        for transfer in [differ, unfinished, unknown] {
            assert!(Receipt::new(&transfer, &outcome(), None).is_err());
        }
        let lost = Outcome { verified: 8, missing: vec!["record 9: lost".into()], ..outcome() };
        assert!(Receipt::new(&transfer(), &lost, None).unwrap_err().to_string().contains("record 9"));
        assert!(Receipt::new(&transfer(), &Outcome::default(), None).is_err());
        let damaged = Findings { problem_count: 1, acknowledged_found: 9, ..Findings::default() };
        assert!(Receipt::new(&transfer(), &outcome(), Some(damaged)).is_err());
    }
}
