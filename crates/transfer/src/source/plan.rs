//! From two walks to the changes between them, as operations for the receiver.
//!
//! A directory is the same if its path is. A name is the same if it leads to the same object. An object is the same if
//! its inode is, or if it is the file that took the place of one that is gone: then only the difference is sent.

use std::collections::HashSet;

use super::{
    outbox::OpSink,
    state::{NONE, Object, State, convertible, kind, meta},
};
use crate::{
    error::Result,
    walk::Tree,
    wire::{Kind, Op, TOP},
};

/// The new tree matched with the announced one.
struct Match {
    /// Per entry of the new tree: the same entry in the old one, or [`NONE`].
    old: Vec<u32>,
    nodes: Vec<u32>,
    inodes: Vec<u32>,
}

impl State {
    /// Announces `new`, and makes it the tree that the receiver knows.
    pub(super) fn announce(&mut self, new: Tree, sink: &mut OpSink<'_>) -> Result<()> {
        let matched = self.match_trees(&new);
        self.announce_removals(&matched, sink)?;
        self.announce_entries(&new, &matched, sink)?;
        sink.push(Op::Structured)?;
        sink.flush()?;
        self.tree = new;
        self.nodes = matched.nodes;
        self.inodes = matched.inodes;
        self.force.clear();
        self.forget_gone();
        Ok(())
    }

    fn match_trees(&mut self, new: &Tree) -> Match {
        let count = new.entries.len();
        let mut m = Match { old: vec![NONE; count], nodes: vec![NONE; count], inodes: vec![NONE; count] };
        m.nodes[0] = TOP;
        if !self.tree.entries.is_empty() {
            m.old[0] = 0;
        }
        let alive: HashSet<_> = new.entries.iter().map(|e| e.stat.inode()).collect();
        for at in 0..count {
            if new.entries[at].stat.is_dir() {
                if at != 0 {
                    m.nodes[at] = self.same_or_fresh_node(m.old[at]);
                }
                self.match_children(new, at, &mut m.old);
            } else {
                m.inodes[at] = self.match_object(new, at, m.old[at], &alive);
                if m.old[at] != NONE && self.inodes[m.old[at] as usize] != m.inodes[at] {
                    m.old[at] = NONE;
                }
                m.nodes[at] = self.same_or_fresh_node(m.old[at]);
            }
        }
        m
    }

    fn same_or_fresh_node(&mut self, old: u32) -> u32 {
        if old == NONE { self.fresh_id() } else { self.nodes[old as usize] }
    }

    /// Pairs the children of a directory by name: directories with directories, the rest with the rest.
    fn match_children(&self, new: &Tree, at: usize, old: &mut [u32]) {
        if old[at] == NONE {
            return;
        }
        let mut theirs = self.tree.children(old[at] as usize).peekable();
        for child in new.children(at) {
            while theirs.next_if(|t| self.tree.name(*t) < new.name(child)).is_some() {}
            let same_name = theirs.next_if(|t| self.tree.name(*t) == new.name(child));
            let same = same_name.filter(|t| self.tree.entries[*t].stat.is_dir() == new.entries[child].stat.is_dir());
            old[child] = same.map_or(NONE, |t| u32::try_from(t).expect("an index"));
        }
    }

    /// The object that a name leads to: known by its inode, successor of a file that is gone, or new.
    fn match_object(&mut self, new: &Tree, at: usize, old: u32, alive: &HashSet<(u64, u64)>) -> u32 {
        let inode = new.entries[at].stat.inode();
        if let Some(&id) = self.by_inode.get(&inode) {
            if self.is_same_object(id, new, at) {
                return id;
            }
        } else if old != NONE {
            let id = self.inodes[old as usize];
            let object = self.objects.get_mut(&id).expect("announced");
            let was_file = self.tree.entries[old as usize].stat.is_file();
            if was_file && new.entries[at].stat.is_file() && !alive.contains(&object.inode) {
                self.by_inode.remove(&object.inode);
                object.inode = inode;
                self.by_inode.insert(inode, id);
                return id;
            }
        }
        let id = self.fresh_id();
        let is_file = new.entries[at].stat.is_file();
        self.objects.insert(
            id,
            Object {
                inode,
                entry: NONE,
                round: 0,
                size: 0,
                leaves: self.store.allocate(0),
                seen: None,
                awaits_basis: self.basis && is_file && new.entries[at].stat.size > 0,
                hash: None,
            },
        );
        self.by_inode.insert(inode, id);
        id
    }

    /// Is what is at this inode now what was announced, as far as it cannot be changed in place?
    fn is_same_object(&self, id: u32, new: &Tree, at: usize) -> bool {
        let entry = self.objects[&id].entry;
        if entry == NONE {
            // New in this very walk.
            return true;
        }
        let (before, now) = (kind(&self.tree, entry as usize), kind(new, at));
        before.zip(now).is_some_and(|(before, now)| convertible(&before, &now))
    }

    /// Children before parents.
    fn announce_removals(&self, m: &Match, sink: &mut OpSink<'_>) -> Result<()> {
        let mut kept = vec![false; self.tree.entries.len()];
        m.old.iter().filter(|o| **o != NONE).for_each(|o| kept[*o as usize] = true);
        for at in (0..kept.len()).rev().filter(|at| !kept[*at]) {
            sink.push(Op::Remove(self.nodes[at]))?;
        }
        Ok(())
    }

    /// Parents before children, an object before its names.
    fn announce_entries(&mut self, new: &Tree, m: &Match, sink: &mut OpSink<'_>) -> Result<()> {
        for at in 0..new.entries.len() {
            let node = m.nodes[at];
            let parent = m.nodes[new.entries[at].parent as usize];
            if new.entries[at].stat.is_dir() {
                if at != 0 && m.old[at] == NONE {
                    let (name, meta) = (new.name(at).to_vec(), meta(new, at, self.owner));
                    sink.push(Op::Dir { node, parent, name, meta })?;
                } else if self.is_news(new, at, m.old[at], node) {
                    sink.push(Op::DirMeta { node, meta: meta(new, at, self.owner) })?;
                }
                continue;
            }
            let object = m.inodes[at];
            self.announce_object(new, at, node, object, sink)?;
            if m.old[at] == NONE {
                sink.push(Op::Name { node, parent, name: new.name(at).to_vec(), object })?;
            }
        }
        Ok(())
    }

    fn is_news(&self, new: &Tree, at: usize, old: u32, node: u32) -> bool {
        old == NONE
            || self.force.contains(&node)
            || meta(&self.tree, old as usize, self.owner) != meta(new, at, self.owner)
    }

    /// Once per object and round, at its first name.
    fn announce_object(&mut self, new: &Tree, at: usize, node: u32, id: u32, sink: &mut OpSink<'_>) -> Result<()> {
        let kind = kind(new, at).expect("not a directory");
        let (round, forced) = (self.round, self.force.contains(&node));
        let object = self.objects.get_mut(&id).expect("matched");
        if object.round == round && !forced {
            return Ok(());
        }
        let before = object.entry;
        let size = if let Kind::File { size } = kind { size } else { 0 };
        let resized = object.size != size;
        if resized {
            object.leaves = self.store.resize(object.leaves, object.size, size)?;
            object.size = size;
            object.hash = None;
        }
        (object.round, object.entry) = (round, u32::try_from(at).expect("an index"));
        // In a round's second call for the same object the entry is one of the new tree; then it is forced anyway.
        if forced || resized || self.is_news(new, at, before, node) {
            sink.push(Op::Object { object: id, kind, meta: meta(new, at, self.owner) })?;
        }
        Ok(())
    }

    fn forget_gone(&mut self) {
        let round = self.round;
        self.objects.retain(|_, object| object.round == round);
        let objects = &self.objects;
        self.by_inode.retain(|inode, id| objects.get(id).is_some_and(|o| o.inode == *inode));
    }
}
