//! `badger backup`: copies of servers in object storage, and the storages themselves.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::Client;
use super::show::Column;
use crate::exit::Exit;
use crate::{output, units};

const LIST: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("STATE", "state"),
    ("LOCKED", "locked"),
    ("BYTES", "bytes"),
    ("FILES", "files"),
    ("MADE", "created_at"),
];

const SHOW: &[Column] = &[
    ("id", "id"),
    ("name", "name"),
    ("server", "server_name"),
    ("state", "state"),
    ("because", "failure.message"),
    ("locked", "locked"),
    ("bytes", "bytes"),
    ("of files", "tree_bytes"),
    ("files", "files"),
    ("SHA-256", "sha256"),
    ("changed", "changed_count"),
    ("left out", "left_out"),
    ("key", "object_key"),
    ("restore", "restore.state"),
    ("because", "restore.failure.message"),
    ("made", "created_at"),
    ("by", "created_by"),
];

const STORAGES: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("ENDPOINT", "endpoint"),
    ("BUCKET", "bucket"),
    ("PREFIX", "prefix"),
    ("DEFAULT", "is_default"),
    ("BACKUPS", "backups"),
];

const POLL: Duration = Duration::from_millis(500);
const BETWEEN_LINES: Duration = Duration::from_secs(2);
const STORAGE_PATH: &str = "/admin/backup-storages";

/// Verbs.
#[derive(Subcommand, Debug)]
pub(crate) enum BackupCommand {
    /// All backups of a server
    List {
        /// Name or id
        server: String,
    },
    /// One backup
    Show(Which),
    /// Make a backup; the server may run
    Create {
        /// Name or id
        server: String,
        /// For people [default: the time]
        #[arg(long)]
        name: Option<String>,
        /// Name or id of the storage [default: the panel's]
        #[arg(long)]
        storage: Option<String>,
        /// Keep it from being deleted
        #[arg(long)]
        locked: bool,
        /// Follow it to its end
        #[arg(long)]
        wait: bool,
    },
    /// Give the server the files of a backup, in place of its own
    Restore {
        #[command(flatten)]
        which: Which,
        /// Stop the server first if it runs, and start it again afterwards
        #[arg(long)]
        stop: bool,
        /// Follow it to its end
        #[arg(long)]
        wait: bool,
    },
    /// Print an address where a backup can be downloaded for some minutes: an ordinary .tar.zst
    Download(Which),
    /// Rename a backup
    Rename {
        #[command(flatten)]
        which: Which,
        /// Its new name
        name: String,
    },
    /// Keep a backup from being deleted
    Lock(Which),
    /// Let a backup be deleted again
    Unlock(Which),
    /// Delete a backup; one that is being made is cancelled
    Delete(Which),
    /// Where backups go
    #[command(subcommand)]
    Storage(StorageCommand),
}

/// Which backup.
#[derive(Args, Debug)]
pub(crate) struct Which {
    /// Name or id of the server
    server: String,
    /// Id of the backup, or `latest` for the last one that is complete
    backup: String,
}

/// Verbs of storages.
#[derive(Subcommand, Debug)]
pub(crate) enum StorageCommand {
    /// All storages
    List,
    /// Add an object storage that speaks S3, and test it
    Add(Box<AddArgs>),
    /// Write, read and remove a small object there
    Test {
        /// Name or id
        storage: String,
    },
    /// Make it the one for backups that name none
    Default {
        /// Name or id
        storage: String,
    },
    /// Give it another key
    SetKey {
        /// Name or id
        storage: String,
        /// Id of the key
        #[arg(long)]
        access_key: String,
        #[command(flatten)]
        secret: SecretArgs,
    },
    /// Forget a storage that has no backups
    Remove {
        /// Name or id
        storage: String,
    },
}

/// A storage to add.
#[derive(Args, Debug)]
pub(crate) struct AddArgs {
    /// Its name
    name: String,
    /// `https://host` or `http://host:port`, as the panel and every agent reach it
    #[arg(long, value_name = "URL")]
    endpoint: String,
    /// It must exist
    #[arg(long)]
    bucket: String,
    /// As its signatures say
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// In front of the keys of all objects
    #[arg(long, default_value = "")]
    prefix: String,
    /// The bucket is in the host's name, as with Amazon, and not in the path
    #[arg(long)]
    virtual_host: bool,
    /// Id of the key
    #[arg(long)]
    access_key: String,
    #[command(flatten)]
    secret: SecretArgs,
    /// Backups go here that name no storage; the first one is the default anyway
    #[arg(long)]
    default: bool,
}

/// Where a secret comes from. It is never an argument: other users of the machine see those.
#[derive(Args, Debug)]
pub(crate) struct SecretArgs {
    /// File with the key itself, `-` for standard input
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
}

impl SecretArgs {
    fn read(&self) -> Result<String> {
        let text = if self.secret_file.as_os_str() == "-" {
            io::read_to_string(io::stdin()).context("cannot read the secret from standard input")?
        } else {
            let file = &self.secret_file;
            std::fs::read_to_string(file).with_context(|| format!("cannot read the secret from {}", file.display()))?
        };
        Ok(text.trim().to_owned())
    }
}

/// Runs a verb.
pub(crate) fn run(command: BackupCommand, client: &Client) -> Result<Exit> {
    match command {
        BackupCommand::List { server } => {
            let items = client.api.list(&backups(client, &server)?)?;
            client.show_list(&items.iter().map(readable).collect::<Vec<_>>(), LIST);
        }
        BackupCommand::Show(which) => client.show_one(&readable(&client.api.get(&path(client, &which)?)?), SHOW),
        BackupCommand::Create { server, name, storage, locked, wait } => {
            let mut body = Map::from_iter([("locked".to_owned(), json!(locked))]);
            if let Some(name) = name {
                body.insert("name".to_owned(), json!(name));
            }
            if let Some(storage) = storage {
                let id = client.resolve(STORAGE_PATH, "backup storage", &storage)?;
                body.insert("storage_id".to_owned(), json!(id));
            }
            let path = backups(client, &server)?;
            let made = client.api.post(&path, &Value::Object(body))?;
            let one = format!("{path}/{}", id_of(&made)?);
            return begun(client, &made, &one, wait, "the backup", std::clone::Clone::clone);
        }
        BackupCommand::Restore { which, stop, wait } => {
            let path = path(client, &which)?;
            let begun_as = client.api.post(&format!("{path}/restore"), &json!({"stop": stop}))?;
            return begun(client, &begun_as, &path, wait, "the restore", |backup| backup["restore"].clone());
        }
        BackupCommand::Download(which) => {
            let got = client.api.get(&format!("{}/download", path(client, &which)?))?;
            client.show_done(&got, got["url"].as_str().unwrap_or_default());
        }
        BackupCommand::Rename { which, name } => change(client, &which, &json!({"name": name}), "renamed")?,
        BackupCommand::Lock(which) => change(client, &which, &json!({"locked": true}), "locked")?,
        BackupCommand::Unlock(which) => change(client, &which, &json!({"locked": false}), "unlocked")?,
        BackupCommand::Delete(which) => {
            let done = client.api.delete(&path(client, &which)?)?;
            client.show_done(&done, "deleted");
        }
        BackupCommand::Storage(command) => return storage(command, client),
    }
    Ok(Exit::Done)
}

fn backups(client: &Client, server: &str) -> Result<String> {
    // Whoever owns a server need not be allowed to list all of them.
    let id = match client.resolve("/servers", "server", server) {
        Ok(id) => id,
        Err(_) => client.resolve("/admin/servers", "server", server)?,
    };
    Ok(format!("/servers/{id}/backups"))
}

fn path(client: &Client, which: &Which) -> Result<String> {
    let all = backups(client, &which.server)?;
    if which.backup != "latest" {
        return Ok(format!("{all}/{}", which.backup));
    }
    let complete = client.api.get(&format!("{all}?filter[state]=completed&per_page=1"))?;
    match complete.get(0) {
        Some(backup) => Ok(format!("{all}/{}", id_of(backup)?)),
        None => bail!("{} has no backup that is complete; `badger backup create` makes one", which.server),
    }
}

fn id_of(item: &Value) -> Result<&str> {
    item["id"].as_str().context("the panel's answer has no id")
}

/// With sizes as people read them.
fn readable(backup: &Value) -> Value {
    let mut backup = backup.clone();
    for field in ["bytes", "tree_bytes"] {
        if let Some(bytes) = backup[field].as_u64() {
            backup[field] = json!(units::bytes(bytes));
        }
    }
    backup
}

fn change(client: &Client, which: &Which, body: &Value, word: &str) -> Result<()> {
    let changed = client.api.patch(&path(client, which)?, body)?;
    client.show_done(&changed, word);
    Ok(())
}

/// Shows what was begun, or follows it. `part` takes out of the backup what it is about.
fn begun(
    client: &Client,
    answer: &Value,
    path: &str,
    wait: bool,
    what: &str,
    part: impl Fn(&Value) -> Value,
) -> Result<Exit> {
    if !wait {
        client.show_done(answer, format!("{what} was begun; look at {path}"));
        return Ok(Exit::Done);
    }
    let mut view = Following::new(client.json);
    let ended = loop {
        let now = part(&client.api.get(path)?);
        view.show(&now);
        if matches!(now["state"].as_str(), Some("completed" | "failed")) {
            break now;
        }
        thread::sleep(POLL);
    };
    view.end();
    if ended["state"] == "completed" {
        client.show_done(&ended, format!("{what} is complete"));
        return Ok(Exit::Done);
    }
    if client.json {
        output::json(&ended);
    }
    bail!("{what} failed: {}", ended["failure"]["message"].as_str().unwrap_or("the panel does not say why"))
}

/// How it goes on: a bar on a terminal, lines elsewhere, nothing for programs.
enum Following {
    Silent,
    Bar(ProgressBar),
    Lines(Option<Instant>),
}

impl Following {
    fn new(json: bool) -> Self {
        if json {
            return Self::Silent;
        }
        if !io::stderr().is_terminal() {
            return Self::Lines(None);
        }
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{msg:10} {bar:40} {bytes} of {total_bytes}  {bytes_per_sec}") {
            bar.set_style(style);
        }
        Self::Bar(bar)
    }

    fn show(&mut self, now: &Value) {
        let number = |name: &str| now["progress"][name].as_u64().unwrap_or(0);
        let state = now["state"].as_str().unwrap_or_default().to_owned();
        match self {
            Self::Bar(bar) => {
                bar.set_length(number("bytes_total"));
                bar.set_position(number("bytes_done"));
                bar.set_message(state);
            }
            Self::Lines(last) if last.is_none_or(|at| at.elapsed() >= BETWEEN_LINES) => {
                *last = Some(Instant::now());
                let (done, total) = (units::bytes(number("bytes_done")), units::bytes(number("bytes_total")));
                output::note(format!("{state}: {done} of {total}, {} compressed", units::bytes(number("bytes_moved"))));
            }
            Self::Silent | Self::Lines(_) => {}
        }
    }

    fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn storage(command: StorageCommand, client: &Client) -> Result<Exit> {
    let one = |name: &str| {
        Ok::<_, anyhow::Error>(format!("{STORAGE_PATH}/{}", client.resolve(STORAGE_PATH, "backup storage", name)?))
    };
    match command {
        StorageCommand::List => client.show_list(&client.api.list(STORAGE_PATH)?, STORAGES),
        StorageCommand::Add(args) => {
            let body = json!({
                "name": args.name, "endpoint": args.endpoint, "bucket": args.bucket, "region": args.region,
                "prefix": args.prefix, "path_style": !args.virtual_host, "access_key": args.access_key,
                "secret_key": args.secret.read()?, "is_default": args.default,
            });
            let added = client.api.post(STORAGE_PATH, &body)?;
            client.show_done(&added, format!("added {}", args.name));
            return tested(client, &format!("{STORAGE_PATH}/{}", id_of(&added)?));
        }
        StorageCommand::Test { storage } => return tested(client, &one(&storage)?),
        StorageCommand::Default { storage } => {
            let changed = client.api.patch(&one(&storage)?, &json!({"is_default": true}))?;
            client.show_done(&changed, format!("{storage} is the default"));
        }
        StorageCommand::SetKey { storage, access_key, secret } => {
            let body = json!({"access_key": access_key, "secret_key": secret.read()?});
            let path = one(&storage)?;
            let changed = client.api.patch(&path, &body)?;
            client.show_done(&changed, format!("{storage} has another key"));
            return tested(client, &path);
        }
        StorageCommand::Remove { storage } => {
            let done = client.api.delete(&one(&storage)?)?;
            client.show_done(&done, format!("{storage} is forgotten; nothing in it was touched"));
        }
    }
    Ok(Exit::Done)
}

fn tested(client: &Client, path: &str) -> Result<Exit> {
    let found = client.api.post(&format!("{path}/test"), &json!({}))?;
    if found["ok"] == true {
        client.show_done(&found, "an object was written, read and removed there");
        return Ok(Exit::Done);
    }
    if client.json {
        output::json(&found);
    }
    bail!("the test failed: {}", found["message"].as_str().unwrap_or("the panel does not say why"))
}
