//! A place for backups that speaks S3: what the panel itself asks of it, and the addresses that it signs for agents. The only
//! file that knows `rusty_s3`.
//!
//! Requests are small and blocking, so they run on the blocking pool. Bytes of backups never come through here.

use std::fmt;
use std::time::Duration;

use data_encoding::HEXLOWER;
use rusty_s3::actions::{CompleteMultipartUploadResponse, CreateMultipartUpload};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use ureq::http::Response;
use ureq::{Agent, Body};

use crate::access::Vault;
use crate::db::backup_storages::BackupStorage;

const CONNECT: Duration = Duration::from_secs(10);
/// Putting thousands of parts together may take a while.
const ANSWER: Duration = Duration::from_mins(3);
/// For what the panel asks itself.
const OWN: Duration = Duration::from_mins(5);
const LARGEST_ANSWER_BYTES: u64 = 4 << 20;
/// What a test writes, without the random part of its key.
const TEST: &[u8] = b"BadgerPanel has written this to see whether it may. It removes it at once.";

/// Why a place does not do what it is asked, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// Nobody answers there. Time may help.
    #[error("the storage cannot be reached: {0}. Check its endpoint, and that it runs")]
    Unreachable(String),
    /// Key or secret are wrong, or may not do this.
    #[error("the storage refuses the access key: {0}. Check key, secret and region, and what its policy allows")]
    Denied(String),
    /// There is no such bucket.
    #[error("the storage has no such bucket: {0}. Make the bucket, or correct its name")]
    NoBucket(String),
    /// It is full, or overloaded, or something in it is broken. Time may help.
    #[error("the storage failed: {0}. Look at its own log and its free space")]
    Failed(String),
    /// Its settings cannot be used.
    #[error("{0}")]
    Settings(String),
}

impl StorageError {
    /// The stable word.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "storage_unreachable",
            Self::Denied(_) => "storage_denied",
            Self::NoBucket(_) => "storage_no_bucket",
            Self::Failed(_) => "storage_failed",
            Self::Settings(_) => "storage_settings",
        }
    }
}

/// A place, with its key.
#[derive(Clone)]
pub struct Storage {
    bucket: Bucket,
    credentials: Credentials,
    prefix: String,
    agent: Agent,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").field("bucket", &self.bucket.name()).finish_non_exhaustive()
    }
}

/// What a sealed secret is for.
#[must_use]
pub fn purpose(id: model::BackupStorageId) -> String {
    format!("backup-storage/{id}")
}

/// The bucket that settings name, or which of them is wrong and why.
pub fn bucket(endpoint: &str, region: &str, name: &str, path_style: bool) -> Result<Bucket, (&'static str, String)> {
    let url = endpoint.parse().map_err(|e| ("endpoint", format!("must be http://… or https://…: {e}")))?;
    let style = if path_style { UrlStyle::Path } else { UrlStyle::VirtualHost };
    Bucket::new(url, style, name.to_owned(), region.to_owned())
        .map_err(|e| ("endpoint", format!("must be http://… or https://…: {e}")))
}

impl Storage {
    /// The place of this row.
    pub fn open(row: &BackupStorage, vault: &Vault) -> Result<Self, StorageError> {
        let secret = vault.open(&purpose(row.id), &row.secret).map_err(|e| StorageError::Settings(e.to_string()))?;
        let bucket = bucket(&row.endpoint, &row.region, &row.bucket, row.path_style);
        let bucket = bucket.map_err(|(field, problem)| StorageError::Settings(format!("its {field} {problem}")))?;
        let credentials = Credentials::new(row.access_key.clone(), secret);
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .timeout_per_read(Some(CONNECT))
            .user_agent(concat!("badger/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Ok(Self { bucket, credentials, prefix: row.prefix.clone(), agent })
    }

    /// Where part `number` goes, for a while.
    #[must_use]
    pub fn part_url(&self, key: &str, upload: &str, number: u16, good_for: Duration) -> String {
        self.bucket.upload_part(Some(&self.credentials), key, number, upload).sign(good_for).to_string()
    }

    /// Where an object is, for a while.
    #[must_use]
    pub fn object_url(&self, key: &str, good_for: Duration) -> String {
        self.bucket.get_object(Some(&self.credentials), key).sign(good_for).to_string()
    }

    /// The same for people: a browser keeps it under `file_name`.
    #[must_use]
    pub fn download_url(&self, key: &str, file_name: &str, good_for: Duration) -> String {
        let disposition = format!("attachment; filename=\"{file_name}\"");
        let mut get = self.bucket.get_object(Some(&self.credentials), key);
        get.query_mut().insert("response-content-disposition", disposition);
        get.sign(good_for).to_string()
    }

    /// Begins an object of many parts; answers its word for that.
    pub async fn begin(&self, key: &str) -> Result<String, StorageError> {
        let this = self.clone();
        let key = key.to_owned();
        blocking(move || {
            let url = this.bucket.create_multipart_upload(Some(&this.credentials), &key).sign(OWN);
            let text = text(this.agent.post(url.as_str()).send_empty())?;
            let begun = CreateMultipartUpload::parse_response(&text);
            begun.map(|begun| begun.upload_id().to_owned()).map_err(|e| StorageError::Failed(e.to_string()))
        })
        .await
    }

    /// Makes an object of its parts, in their order.
    pub async fn complete(&self, key: &str, upload: &str, etags: Vec<String>) -> Result<(), StorageError> {
        let this = self.clone();
        let (key, upload) = (key.to_owned(), upload.to_owned());
        blocking(move || {
            let etags = etags.iter().map(String::as_str);
            let action = this.bucket.complete_multipart_upload(Some(&this.credentials), &key, &upload, etags);
            let url = action.sign(OWN);
            let text = text(this.agent.post(url.as_str()).send(action.body()))?;
            // It begins its answer before it knows: a 200 may hold an error.
            let made = CompleteMultipartUploadResponse::parse(&text);
            made.map(drop).map_err(|_| StorageError::Failed(said(&text).unwrap_or("the parts do not fit").to_owned()))
        })
        .await
    }

    /// Bytes of an object.
    pub async fn length(&self, key: &str) -> Result<u64, StorageError> {
        let this = self.clone();
        let key = key.to_owned();
        blocking(move || {
            let url = this.bucket.head_object(Some(&this.credentials), &key).sign(OWN);
            let answer = good(this.agent.head(url.as_str()).call())?;
            let length = answer.headers().get("content-length").and_then(|length| length.to_str().ok()?.parse().ok());
            length.ok_or_else(|| StorageError::Failed("it does not say how long the object is".to_owned()))
        })
        .await
    }

    /// Removes an object and all that was uploaded for it. It may be gone already.
    pub async fn clear(&self, key: &str) -> Result<(), StorageError> {
        let this = self.clone();
        let key = key.to_owned();
        blocking(move || {
            for upload in this.uploads(&key)? {
                let url = this.bucket.abort_multipart_upload(Some(&this.credentials), &key, &upload).sign(OWN);
                gone_is_fine(good(this.agent.delete(url.as_str()).call()))?;
            }
            let url = this.bucket.delete_object(Some(&this.credentials), &key).sign(OWN);
            gone_is_fine(good(this.agent.delete(url.as_str()).call()))
        })
        .await
    }

    /// Words of uploads of this very object that were not ended: `ListMultipartUploads`, which the library has not.
    fn uploads(&self, key: &str) -> Result<Vec<String>, StorageError> {
        // An object without a name is the bucket itself.
        let mut list = self.bucket.get_object(Some(&self.credentials), "");
        list.query_mut().insert("uploads", "");
        list.query_mut().insert("prefix", key);
        let text = text(self.agent.get(list.sign(OWN).as_str()).call())?;
        Ok(uploads_of(&text, key))
    }

    /// Writes, reads and removes an object.
    pub async fn test(&self) -> Result<(), StorageError> {
        let this = self.clone();
        blocking(move || {
            let mut random = [0; 8];
            let failed = |_| StorageError::Settings("the system gives no random numbers".to_owned());
            ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random).map_err(failed)?;
            let key = format!("{}badgerpanel-test-{}", this.prefix, HEXLOWER.encode(&random));
            let put = this.bucket.put_object(Some(&this.credentials), &key).sign(OWN);
            good(this.agent.put(put.as_str()).send(TEST))?;
            let get = this.bucket.get_object(Some(&this.credentials), &key).sign(OWN);
            let read = text(this.agent.get(get.as_str()).call());
            let delete = this.bucket.delete_object(Some(&this.credentials), &key).sign(OWN);
            let removed = good(this.agent.delete(delete.as_str()).call());
            if read?.as_bytes() != TEST {
                return Err(StorageError::Failed("it gives back something else than was written".to_owned()));
            }
            removed.map(drop)?;
            // What an upload that failed takes to be cleared.
            this.uploads(&key).map(drop)
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| StorageError::Failed(e.to_string()))?
}

fn text(sent: Result<Response<Body>, ureq::Error>) -> Result<String, StorageError> {
    let mut answer = good(sent)?;
    let body = answer.body_mut().with_config().limit(LARGEST_ANSWER_BYTES);
    body.read_to_string().map_err(|e| StorageError::Unreachable(e.to_string()))
}

fn good(sent: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>, StorageError> {
    // An address is signed, and some errors have it in them.
    let mut answer = sent.map_err(|error| StorageError::Unreachable(without_query(&error.to_string())))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let text = answer.body_mut().with_config().limit(64 << 10).read_to_string().unwrap_or_default();
    let said = said(&text).map_or_else(|| status.to_string(), |said| format!("{said} ({status})"));
    Err(match status.as_u16() {
        401 | 403 => StorageError::Denied(said),
        404 if text.contains("NoSuchBucket") => StorageError::NoBucket(said),
        404 => StorageError::Failed(format!("it has no such object: {said}")),
        400 => StorageError::Settings(format!("the storage does not take the request: {said}")),
        _ => StorageError::Failed(said),
    })
}

fn gone_is_fine(done: Result<Response<Body>, StorageError>) -> Result<(), StorageError> {
    match done {
        Ok(_) => Ok(()),
        Err(StorageError::Failed(why)) if why.starts_with("it has no such object") => Ok(()),
        Err(error) => Err(error),
    }
}

fn without_query(text: &str) -> String {
    text.split_whitespace()
        .map(|word| word.split_once('?').map_or(word, |(word, _)| word))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The code out of an XML document of an error.
fn said(text: &str) -> Option<&str> {
    between(text, "<Code>", "</Code>")
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    text.split_once(from)?.1.split_once(to).map(|(inner, _)| inner)
}

fn uploads_of(list: &str, key: &str) -> Vec<String> {
    let uploads = list.split("<Upload>").skip(1);
    let ours = uploads.filter(|upload| between(upload, "<Key>", "</Key>") == Some(key));
    ours.filter_map(|upload| between(upload, "<UploadId>", "</UploadId>").map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_uploads_of_the_very_object_are_found() {
        let list = "<ListMultipartUploadsResult><Prefix>a</Prefix><Upload><Key>a</Key><UploadId>1</UploadId></Upload>\
                    <Upload><Key>ab</Key><UploadId>2</UploadId></Upload><Upload><Key>a</Key><UploadId>3</UploadId>\
                    </Upload></ListMultipartUploadsResult>";
        assert_eq!(uploads_of(list, "a"), ["1", "3"]);
        assert!(uploads_of("", "a").is_empty());
    }

    #[test]
    fn no_signature_gets_into_a_message() {
        let shown = without_query("io: http://s3/bucket/key?X-Amz-Signature=abc refused");
        assert_eq!(shown, "io: http://s3/bucket/key refused");
    }

    #[test]
    fn settings_that_cannot_be_are_told_by_field() {
        for endpoint in ["", "s3.example", "ftp://s3.example", "http://"] {
            assert_eq!(bucket(endpoint, "us-east-1", "b", true).map_err(|(field, _)| field).err(), Some("endpoint"));
        }
        assert!(bucket("http://127.0.0.1:9000", "us-east-1", "backups", true).is_ok());
    }
}
