//! Builds on what is there: a file at the path of a new one is taken over, and the source is told its leaves.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
    sync::mpsc,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, linkat, openat, renameat},
    io::Errno,
};

use super::{
    apply::Applier,
    fit::copy_content,
    session::Shared,
    target::{Place, shown},
};
use crate::{
    audit::read_full,
    error::{Error, Result},
    leaf::{BLOCK, Leaf, blocks, leaf},
    link::Frame,
    options::Sharing,
    stat::Stat,
    store::Leaves,
    sys,
    wire::ToSource,
};

/// Blocks that are hashed and told at once.
const RUN: u64 = 2048;

/// Blocks that are read at once.
const READ: usize = 128;

/// An object of which the source wants to know what we have.
#[derive(Debug)]
pub(super) struct Question {
    object: u32,
    /// Bytes that are there; none: nothing.
    size: Option<u64>,
}

/// How a file was taken over.
struct Adopted {
    size: u64,
    borrowed: bool,
    /// Its blocks were written just now.
    copied: bool,
}

impl Applier<'_> {
    /// Takes over what the basis has at the path of a new file, and has the source told.
    pub(super) fn adopt(&mut self, id: u32, dir: &Rc<OwnedFd>, name: &[u8], path: &[u8]) -> Result<()> {
        let staging = &self.shared.staging;
        if !staging.has_basis() {
            return Ok(());
        }
        let mut adopted = None;
        if let Some(old) = &staging.old {
            adopted = take_over(old.as_fd(), path, dir, name, From::Old)?;
        }
        if let Some(base) = staging.base.as_ref().filter(|_| adopted.is_none()) {
            adopted = take_over(base.as_fd(), path, dir, name, From::Base(self.shared.config.sharing))?;
        }
        if let Some(adopted) = &adopted {
            let mut target = self.shared.target();
            let object = target.object_mut(id)?;
            object.place = Place::Tree;
            object.borrowed = adopted.borrowed;
            object.size_on_disk = adopted.size;
            object.busy = true;
            if adopted.copied {
                let all = object.all_blocks().start..object.all_blocks().end.min(blocks(adopted.size));
                target.mark_unverified(id, all);
            }
        }
        let question = Question { object: id, size: adopted.map(|a| a.size) };
        self.tell.send(question).map_err(|_| Error::Cancelled)
    }
}

/// Which other tree.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// Ours, to take apart.
    Old,
    /// Not ours to change.
    Base(Sharing),
}

/// Brings the file at `path` of another tree to `name` in `dir`. None if there is no such file.
fn take_over(from: BorrowedFd<'_>, path: &[u8], dir: &OwnedFd, name: &[u8], tree: From) -> Result<Option<Adopted>> {
    let failed = |e| Error::io(shown(path), e);
    let (parent, base_name) = split(path);
    let there = sys::open_dir(from, parent).and_then(|parent| {
        let file = sys::open_beneath(parent.as_fd(), base_name, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
        let stat = Stat::of_file(file.as_fd())?;
        Ok((parent, file, stat))
    });
    let Ok((parent, file, stat)) = there else {
        // Whatever the reason that we cannot use it: then it is sent.
        return Ok(None);
    };
    if !stat.is_file() || stat.size == 0 {
        return Ok(None);
    }
    let adopted = |borrowed, copied| Ok(Some(Adopted { size: stat.size, borrowed, copied }));
    if tree == From::Old && stat.nlink == 1 {
        match renameat(&parent, base_name, dir, name) {
            Ok(()) => return adopted(false, false),
            // Its directory got a final mode that denies us.
            Err(Errno::ACCESS | Errno::PERM) => {}
            Err(e) => return Err(failed(e)),
        }
    }
    if tree == From::Base(Sharing::Link) {
        match linkat(&parent, base_name, dir, name, AtFlags::empty()) {
            Ok(()) => return adopted(true, false),
            Err(Errno::XDEV | Errno::PERM | Errno::MLINK | Errno::ACCESS | Errno::OPNOTSUPP) => {}
            Err(e) => return Err(failed(e)),
        }
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let own = openat(dir, name, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
    copy_content(&file, &own, stat.size).map_err(failed)?;
    adopted(false, true)
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    path.iter().rposition(|b| *b == b'/').map_or((b"", path), |at| (&path[..at], &path[at + 1..]))
}

/// The thread that hashes what was taken over and tells the source. Its reading counts as verification.
pub(super) fn tell(shared: &Shared, questions: &mpsc::Receiver<Question>) -> Result<()> {
    while let Ok(Question { object, size }) = questions.recv() {
        match size {
            None => shared.sender.send_blocking(&ToSource::Basis { object, size: 0, first: 0, last: true })?,
            Some(size) => {
                hash_and_tell(shared, object, size)?;
                if let Some(object) = shared.target().objects.get_mut(&object) {
                    object.busy = false;
                }
                shared.changed.notify_all();
            }
        }
    }
    Ok(())
}

fn hash_and_tell(shared: &Shared, id: u32, size: u64) -> Result<()> {
    let target = shared.target();
    let Some(object) = target.objects.get(&id) else { return Ok(()) };
    let (path, leaves, end) = (target.path_of(id), object.leaves, object.all_blocks().end.min(blocks(size)));
    drop(target);
    let failed = |e| Error::io(shown(&path), e);
    let file = sys::open_beneath(shared.staging.tree(), &path, OFlags::RDONLY, Mode::empty()).map_err(failed)?;
    let mut buffer = vec![0; READ * BLOCK];
    let mut at = 0;
    loop {
        let run = at..end.min(at + RUN);
        let mut found: Vec<Leaf> = Vec::new();
        while run.start + (found.len() as u64) < run.end {
            if shared.stop.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let first = run.start + found.len() as u64;
            let want = usize::try_from((run.end - first).min(READ as u64)).expect("small") * BLOCK;
            let got = read_full(&file, &mut buffer[..want], first * BLOCK as u64).map_err(failed)?;
            if got == 0 {
                break;
            }
            found.extend(buffer[..got].chunks(BLOCK).map(leaf));
        }
        shared.store.write(&leaves, run.start, &found)?;
        if let (Leaves::One(_), [one]) = (leaves, found.as_slice())
            && let Some(object) = shared.target().objects.get_mut(&id)
        {
            object.leaves = Leaves::One(*one);
        }
        at = run.end;
        let message = ToSource::Basis { object: id, size, first: run.start, last: at >= end };
        shared.sender.send_frame_blocking(Frame::new(&message, found.into_flattened()))?;
        if at >= end {
            return Ok(());
        }
    }
}
