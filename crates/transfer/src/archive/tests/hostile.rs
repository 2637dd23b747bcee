//! Archives that nobody of ours has written.

use super::*;
use crate::Error;
use tar::{EntryType, Header};

struct Hostile(Vec<u8>);

impl Hostile {
    fn new() -> Self {
        Self(Vec::new()).with("./", EntryType::Directory, "", b"")
    }

    fn with(mut self, name: &str, kind: EntryType, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_uid(rustix::process::geteuid().as_raw().into());
        header.set_gid(rustix::process::getegid().as_raw().into());
        header.set_mtime(1);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn extended(self, records: &[(&[u8], &[u8])]) -> Self {
        let mut text = Vec::new();
        for (key, value) in records {
            pax::record(&mut text, key, value);
        }
        self.with("x", EntryType::XHeader, "", &text)
    }

    fn file(self, name: &str) -> Self {
        self.with(name, EntryType::Regular, "", b"evil")
    }

    /// What becomes of it; the directory beside the tree must stay as it is.
    fn unpack(mut self) -> crate::Result<Unpacked> {
        let dir = tempfile::tempdir().unwrap();
        let (tree, beside) = (dir.path().join("staging/tree"), dir.path().join("beside"));
        fs::create_dir(&beside).unwrap();
        fs::write(beside.join("mine"), "mine").unwrap();
        self.0.extend_from_slice(&[0; 1024]);
        let archive = zstd::encode_all(self.0.as_slice(), 1).unwrap();
        fs::create_dir_all(&tree).unwrap();
        let limits = UnpackLimits { files: 5, bytes: 1000 };
        let done =
            unpack(archive.as_slice(), &tree, OwnerMap::Keep, limits, &Progress::default(), &CancellationToken::new());
        assert_eq!(fs::read(beside.join("mine")).unwrap(), b"mine");
        assert_eq!(fs::read_dir(&beside).unwrap().count(), 1);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert_eq!(fs::read_dir(dir.path().join("staging")).unwrap().count(), 1);
        done
    }

    #[track_caller]
    fn refused(self, word: &str) {
        match self.unpack() {
            Err(Error::Refused(why)) => assert!(why.contains(word), "{why}"),
            other => panic!("not refused: {other:?}"),
        }
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in ["../beside/x", "/tmp/x", "a/../../x", "..", "a//b", "./a", ""] {
        Hostile::new().with("a", EntryType::Directory, "", b"").file(name).refused("leads out");
    }
    Hostile::new().extended(&[(pax::PATH, b"../../beside/x")]).file("harmless").refused("leads out");
    Hostile::new().extended(&[(pax::PATH, b"a\0b")]).file("harmless").refused("leads out");
}

#[test]
fn links_are_never_followed() {
    for target in ["../../beside", "/", "."] {
        let link = Hostile::new().with("out", EntryType::Symlink, target, b"");
        link.file("out/x").refused("is in no directory");
        let link = Hostile::new().with("out", EntryType::Symlink, target, b"");
        link.with("out/x", EntryType::Directory, "", b"").refused("is in no directory");
    }
    let over = Hostile::new().with("mine", EntryType::Symlink, "../../beside/mine", b"").file("mine");
    over.refused("comes twice");
    for target in ["../../beside/mine", "/etc/passwd", ""] {
        Hostile::new().with("hard", EntryType::Link, target, b"").refused("not in the archive");
    }
    let through = Hostile::new().with("out", EntryType::Symlink, "../../beside", b"");
    assert!(through.with("hard", EntryType::Link, "out/mine", b"").unpack().is_err());
    let missing = Hostile::new().with("hard", EntryType::Link, "later", b"").unpack();
    assert!(matches!(missing, Err(Error::Io { .. })));
}

#[test]
fn more_than_was_announced_is_refused() {
    let many = (0..6).fold(Hostile::new(), |archive, n| archive.file(&n.to_string()));
    many.refused("more than the 5 files");
    Hostile::new().with("big", EntryType::Regular, "", &[7; 1001]).refused("more than the 1000 bytes");
    let sparse = |size: &'static [u8]| {
        [(pax::SPARSE_MAJOR, &b"1"[..]), (pax::SPARSE_MINOR, b"0"), (pax::SPARSE_NAME, b"s"), (pax::SPARSE_SIZE, size)]
    };
    let map = |text: &[u8]| {
        let mut map = text.to_vec();
        map.resize(512, 0);
        map
    };
    let whole = map(b"1\n0\n0\n");
    Hostile::new().extended(&sparse(b"99999999999999")).with("s", EntryType::Regular, "", &whole).refused("bytes");
    for broken in [&b"1\n0\n2000\n"[..], b"2\n9\n0\n0\n0\n", b"1\n0\n1\n", b"999999999\n", b"-1\n", b"", b"x\n"] {
        let archive = Hostile::new().extended(&sparse(b"900")).with("s", EntryType::Regular, "", &map(broken));
        archive.refused("makes no sense");
    }
    let good = Hostile::new().extended(&sparse(b"900")).with("s", EntryType::Regular, "", &map(b"1\n900\n0\n"));
    assert_eq!(good.unpack().unwrap().bytes, 900);
}

#[test]
fn what_is_no_archive_of_ours_is_refused() {
    Hostile(Vec::new()).file("a").refused("does not begin with its top");
    Hostile::new().with("a", EntryType::GNULongName, "", b"name").refused("unknown kind");
    Hostile::new().with("x", EntryType::XHeader, "", b"nonsense").file("a").refused("extended header");
    Hostile::new().extended(&[(pax::MTIME, b"yesterday")]).file("a").refused("mtime");
    Hostile::new().extended(&[(pax::SIZE, b"1")]).file("a").refused("size");
    Hostile(b"not a tar".repeat(100)).refused("damaged");
    let none = unpack(
        &b"not zstd"[..],
        tempfile::tempdir().unwrap().path(),
        OwnerMap::Keep,
        NO_LIMIT,
        &Progress::default(),
        &CancellationToken::new(),
    );
    assert!(matches!(none, Err(Error::Refused(_))));
}
