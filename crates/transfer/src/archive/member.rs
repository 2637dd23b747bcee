//! One member of an archive: its headers as bytes, and back.

use std::io::{self, Write};
use std::ops::Range;

use rustix::fs::{FileType, major, makedev, minor};
use tar::{EntryType, Header};

use super::pax;
use crate::sys::Stamp;
use crate::walk::Tree;
use crate::wire::Meta;
use crate::xattr::Xattrs;

/// What a header's own field holds of a name or of a link.
const SHORT: usize = 100;
/// Sizes from here on do not fit into the octal field.
const OCTAL: u64 = 1 << 33;

/// What follows the headers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body<'a> {
    Empty,
    /// Another name of this path.
    Link(&'a [u8]),
    File {
        size: u64,
        /// Where the data is, if not everywhere.
        runs: Option<&'a [Range<u64>]>,
    },
}

/// Writes the headers of entry `at`, and the map if it is sparse. Its content and [`pad`] are the caller's.
pub(super) fn write(to: &mut impl Write, tree: &Tree, at: usize, body: Body<'_>) -> io::Result<()> {
    let (stat, extra) = (&tree.entries[at].stat, tree.extra(at));
    let mut path = tree.path(at);
    if at == 0 {
        path.push(b'.');
    }
    if stat.is_dir() {
        path.push(b'/');
    }
    let link = match body {
        Body::Link(target) => target,
        _ => &extra.target,
    };
    let mut records = Vec::new();
    if [path.as_slice(), link].iter().any(|text| std::str::from_utf8(text).is_err()) {
        pax::record(&mut records, pax::BINARY.0, pax::BINARY.1);
    }
    pax::record(&mut records, pax::MTIME, pax::time(stat.mtime.sec, stat.mtime.nsec).as_bytes());
    if !link.is_empty() && !is_plain(link) {
        pax::record(&mut records, pax::LINK, link);
    }
    for (name, value) in extra.xattrs.iter().filter(|_| !matches!(body, Body::Link(_))) {
        pax::record(&mut records, &[pax::XATTR, &pax::escape(name)].concat(), value);
    }
    let mut map = Vec::new();
    let size = match body {
        Body::File { size, runs: Some(runs) } => {
            map = pax::sparse_map(runs);
            pax::record(&mut records, pax::SPARSE_MAJOR, b"1");
            pax::record(&mut records, pax::SPARSE_MINOR, b"0");
            pax::record(&mut records, pax::SPARSE_NAME, &path);
            pax::record(&mut records, pax::SPARSE_SIZE, size.to_string().as_bytes());
            map.len() as u64 + runs.iter().map(|run| run.end - run.start).sum::<u64>()
        }
        Body::File { size, runs: None } => size,
        Body::Empty | Body::Link(_) => 0,
    };
    if !is_plain(&path) {
        pax::record(&mut records, pax::PATH, &path);
    }
    if size >= OCTAL {
        pax::record(&mut records, pax::SIZE, size.to_string().as_bytes());
    }
    for (key, id) in [(pax::UID, stat.uid), (pax::GID, stat.gid)] {
        if id > 0o777_7777 {
            pax::record(&mut records, key, id.to_string().as_bytes());
        }
    }
    let mut extended = header(b"./PaxHeaders/member", 0o644, records.len() as u64);
    extended.set_entry_type(EntryType::XHeader);
    seal(to, &mut extended)?;
    to.write_all(&records)?;
    pad(to, records.len() as u64)?;
    let mut header = header(&path, stat.mode & 0o7777, size);
    header.set_uid(stat.uid.into());
    header.set_gid(stat.gid.into());
    header.set_mtime(u64::try_from(stat.mtime.sec).unwrap_or(0));
    header.set_entry_type(kind(stat.kind(), body));
    let field = &mut header.as_old_mut().linkname;
    let short = &link[..link.len().min(SHORT)];
    field[..short.len()].copy_from_slice(short);
    if matches!(stat.kind(), FileType::CharacterDevice | FileType::BlockDevice) {
        header.set_device_major(major(stat.rdev))?;
        header.set_device_minor(minor(stat.rdev))?;
    }
    seal(to, &mut header)?;
    to.write_all(&map)
}

/// Fits into a header's own field, and means there what it is.
fn is_plain(name: &[u8]) -> bool {
    name.len() <= SHORT && name.is_ascii()
}

fn kind(kind: FileType, body: Body<'_>) -> EntryType {
    match (body, kind) {
        (Body::Link(_), _) => EntryType::Link,
        (_, FileType::Directory) => EntryType::Directory,
        (_, FileType::Symlink) => EntryType::Symlink,
        (_, FileType::Fifo) => EntryType::Fifo,
        (_, FileType::CharacterDevice) => EntryType::Char,
        (_, FileType::BlockDevice) => EntryType::Block,
        _ => EntryType::Regular,
    }
}

fn header(name: &[u8], mode: u32, size: u64) -> Header {
    let mut header = Header::new_ustar();
    let short = &name[..name.len().min(SHORT)];
    header.as_old_mut().name[..short.len()].copy_from_slice(short);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn seal(to: &mut impl Write, header: &mut Header) -> io::Result<()> {
    header.set_cksum();
    to.write_all(header.as_bytes())
}

/// Fills up to a whole block of the archive after `written` bytes.
pub(super) fn pad(to: &mut impl Write, written: u64) -> io::Result<()> {
    let missing = usize::try_from(written.next_multiple_of(512) - written).expect("less than a block");
    to.write_all(&[0; 512][..missing])
}

/// A member as its headers say.
#[derive(Debug)]
pub(super) struct Member {
    /// Without a slash at the end.
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) kind: EntryType,
    /// Bytes in the archive.
    pub(super) size: u64,
    /// Bytes of the file, if its content begins with a map.
    pub(super) sparse: Option<u64>,
    pub(super) rdev: u64,
    pub(super) meta: Meta,
}

fn broken(what: &'static str) -> impl Fn(io::Error) -> String {
    move |e| format!("its {what} cannot be read: {e}")
}

/// Out of a header and what stood in the extended one before it. The error says what is wrong.
pub(super) fn read(header: &Header, extended: &[u8]) -> Result<Member, String> {
    let device = |number: io::Result<Option<u32>>| number.map(Option::unwrap_or_default).map_err(broken("device"));
    let kind = header.entry_type();
    let rdev = match kind {
        EntryType::Char | EntryType::Block => makedev(device(header.device_major())?, device(header.device_minor())?),
        _ => 0,
    };
    let id = |number: io::Result<u64>| {
        number.map_err(broken("owner")).and_then(|id| u32::try_from(id).map_err(|_| "its owner is no owner".to_owned()))
    };
    let sec = i64::try_from(header.mtime().map_err(broken("time"))?).map_err(|_| "its time is none".to_owned())?;
    let mode = header.mode().map_err(broken("mode"))? & 0o7777;
    let mut member = Member {
        path: header.path_bytes().into_owned(),
        link: header.link_name_bytes().unwrap_or_default().into_owned(),
        kind,
        size: header.entry_size().map_err(broken("size"))?,
        sparse: None,
        rdev,
        meta: Meta {
            mode: u16::try_from(mode).expect("twelve bits"),
            uid: id(header.uid())?,
            gid: id(header.gid())?,
            mtime: Stamp { sec, nsec: 0 },
            xattrs: Xattrs::new(),
        },
    };
    let records = pax::records(extended).ok_or("its extended header is damaged")?;
    for (key, value) in records {
        member.take(key, value).ok_or_else(|| format!("its {} is damaged", String::from_utf8_lossy(key)))?;
    }
    member.meta.xattrs.sort();
    while member.path.len() > 1 && member.path.ends_with(b"/") {
        member.path.pop();
    }
    Ok(member)
}

impl Member {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let number = || std::str::from_utf8(value).ok()?.parse::<u64>().ok();
        match key {
            pax::PATH if self.sparse.is_none() => self.path = value.to_vec(),
            pax::SPARSE_NAME => self.path = value.to_vec(),
            pax::LINK => self.link = value.to_vec(),
            pax::MTIME => {
                let (sec, nsec) = pax::parse_time(value)?;
                self.meta.mtime = Stamp { sec, nsec };
            }
            // The library has gone by the header: two lengths are an archive that two readers read differently.
            pax::SIZE if number()? != self.size => return None,
            pax::UID => self.meta.uid = u32::try_from(number()?).ok()?,
            pax::GID => self.meta.gid = u32::try_from(number()?).ok()?,
            pax::SPARSE_SIZE => self.sparse = Some(number()?),
            pax::SPARSE_MAJOR if value != b"1" => return None,
            pax::SPARSE_MINOR if value != b"0" => return None,
            key => {
                if let Some(name) = key.strip_prefix(pax::XATTR) {
                    self.meta.xattrs.push((pax::unescape(name), value.to_vec()));
                }
            }
        }
        Some(())
    }
}
