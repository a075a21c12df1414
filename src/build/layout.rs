//! Where COPY and ADD put what they take: the sources that their words mean, and where
//! each goes in a root file system. Nothing is written here.

use super::chmod::Chmod;
use super::ignore::{Glob, Ignore};
use crate::error::{refusal, refuse};
use crate::image::entry::{join, show, split};
use crate::image::export::{Selection, Take, Tree};
use crate::image::tarwrite::{Kind, Member};
use crate::image::view::{Merged, Node};
use anyhow::{Context, Result};
use std::cell::RefCell;
use std::collections::HashMap;

/// The one extended attribute that is part of an image.
const CAPABILITY: &[u8] = b"security.capability";

/// A source, found.
pub struct Found {
    /// What it is.
    pub node: Node,
    /// Its path in its tree, without links.
    pub path: Vec<u8>,
    /// Its path as it was written, from the tree's root.
    pub written: Vec<u8>,
}

impl Found {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.node, Node::Directory(_))
    }
}

/// What the words of an instruction mean in a tree; what `ignore` leaves out is not there.
///
/// # Errors
/// One that is no pattern is not there.
pub fn sources(tree: &Tree, words: &[&str], ignore: Option<&Ignore>) -> Result<Vec<Found>> {
    let is_there = |path: &[u8]| match ignore {
        Some(ignore) => path.is_empty() || !ignore.is_ignored(&String::from_utf8_lossy(path)),
        None => true,
    };
    let mut all = Vec::new();
    for word in words {
        let names = names(word);
        if names
            .iter()
            .any(|name| name.contains(['*', '?', '[', '\\']))
        {
            let mut found = Vec::new();
            expand(&tree.view().root(), &names, b"", word, &mut found)?;
            for path in found.into_iter().filter(|path| is_there(path)) {
                all.extend(find(tree, &path)?);
            }
            continue;
        }
        let path = names.join("/").into_bytes();
        // A directory that is left out may have what is taken in again.
        let found = find(tree, &path)?;
        match found.filter(|found| is_there(&path) || found.is_directory()) {
            Some(found) => all.push(found),
            None => refuse!(NotFound, "\"{}\": not found", rooted(&path)),
        }
    }
    Ok(all)
}

/// A path from the root, for people.
fn rooted(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let visible = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c });
    std::iter::once('/').chain(visible).collect()
}

/// The names of a path, without those that say nothing or lead out.
fn names(word: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for name in word.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    names
}

fn find(tree: &Tree, path: &[u8]) -> Result<Option<Found>> {
    let found = tree.view().locate_followed(path);
    let found = found.with_context(|| show(path))?;
    Ok(found.map(|(real, node)| Found {
        node,
        path: real,
        written: path.to_vec(),
    }))
}

/// All paths below `directory`, which is at `path`, that match the patterns.
fn expand(
    directory: &Merged,
    patterns: &[&str],
    path: &[u8],
    word: &str,
    found: &mut Vec<Vec<u8>>,
) -> Result<()> {
    let Some((first, rest)) = patterns.split_first() else {
        return Ok(());
    };
    let glob = Glob::parse(first);
    let glob = glob.ok_or_else(|| refusal!(Invalid, "{word}: syntax error in pattern"))?;
    for (name, node) in directory.children()? {
        if !glob.matches(&String::from_utf8_lossy(&name)) {
            continue;
        }
        let here = join(path, &name);
        match (rest, node) {
            ([], _) => found.push(here),
            (rest, Node::Directory(below)) => expand(&below, rest, &here, word, found)?,
            (_, Node::Other(_)) => {}
        }
    }
    Ok(())
}

/// How what is copied is changed.
#[derive(Clone, Default)]
pub struct Change {
    /// Whose all is; as it was if None.
    pub owner: Option<(u32, u32)>,
    /// What modes become.
    pub mode: Option<Chmod>,
}

impl Change {
    /// Applies it.
    pub fn apply(&self, member: &mut Member) {
        if let Some((uid, gid)) = self.owner {
            (member.meta.uid, member.meta.gid) = (uid, gid);
        }
        if let Some(mode) = self
            .mode
            .as_ref()
            .filter(|_| !matches!(member.kind, Kind::Symlink(_)))
        {
            let is_directory = member.kind == Kind::Directory;
            member.meta.mode = mode.apply(member.meta.mode, is_directory);
        }
        member.meta.xattrs.retain(|(name, _)| name == CAPABILITY);
    }
}

/// What is in a root file system already.
pub struct Destination<'a> {
    /// It; None for one without files.
    tree: Option<&'a Tree<'a>>,
    /// Directories that were looked for: what they are there.
    known: RefCell<HashMap<Vec<u8>, Option<Member>>>,
}

impl<'a> Destination<'a> {
    /// That of a tree.
    pub fn new(tree: Option<&'a Tree<'a>>) -> Destination<'a> {
        Destination {
            tree,
            known: RefCell::default(),
        }
    }

    /// The true path of a path, and whether it is a directory; None for what is not there.
    pub fn place(&self, path: &[u8]) -> Result<(Vec<u8>, Option<bool>)> {
        let Some(tree) = self.tree else {
            let names = names(std::str::from_utf8(path).unwrap_or_default()).join("/");
            return Ok((names.into_bytes(), None));
        };
        let real = tree.view().place(path).with_context(|| show(path))?;
        let node = tree.view().locate(&real)?;
        Ok((
            real,
            node.map(|(_, node)| matches!(node, Node::Directory(_))),
        ))
    }

    /// What is said of a directory that is there; an error if it is something else.
    pub fn directory(&self, path: &[u8]) -> Result<Option<Member>> {
        let Some(tree) = self.tree else {
            return Ok(None);
        };
        if let Some(known) = self.known.borrow().get(path) {
            return Ok(known.clone());
        }
        let parent = split(path)
            .map(|(parent, _)| parent.to_vec())
            .unwrap_or_default();
        // Below what is not there is nothing.
        let above = path.is_empty() || parent.is_empty() || self.directory(&parent)?.is_some();
        let node = match above {
            true => tree.view().locate(path)?.map(|(_, node)| node),
            false => None,
        };
        let found = match node {
            None => None,
            Some(Node::Directory(directory)) => Some(tree.describe(&directory, path)?),
            Some(Node::Other(_)) => {
                refuse!(Conflict, "cannot copy to non-directory: {}", rooted(path))
            }
        };
        self.known.borrow_mut().insert(path.to_vec(), found.clone());
        Ok(found)
    }

    /// The directories above a path, the outermost first; what is not there has this
    /// owner and time.
    pub fn above(&self, path: &[u8], owner: (u32, u32), now: i64) -> Result<Vec<Member>> {
        let mut all = Vec::new();
        let mut ends: Vec<usize> = (0..path.len()).filter(|at| path[*at] == b'/').collect();
        ends.insert(0, 0);
        if path.is_empty() {
            ends.clear();
        }
        for end in ends {
            let here = &path[..end];
            all.push(match self.directory(here)? {
                Some(member) => member,
                None if here.is_empty() => continue,
                None => made(here, owner, now),
            });
        }
        Ok(all)
    }
}

/// Refuses what a layer cannot have: in one, such a name says what is gone (the OCI image
/// specification, layer.md).
///
/// # Errors
/// The path has such a name.
pub fn check_name(path: &[u8]) -> Result<()> {
    let name = path.rsplit(|byte| *byte == b'/').next();
    if name.is_some_and(|name| name.starts_with(b".wh.")) {
        refuse!(
            Unsupported,
            "{}: a layer cannot have a file of that name: give it another, or leave it out",
            show(path)
        );
    }
    Ok(())
}

/// A directory that is made.
pub fn made(path: &[u8], (uid, gid): (u32, u32), now: i64) -> Member {
    let mut member = Member {
        path: path.to_vec(),
        kind: Kind::Directory,
        meta: Default::default(),
    };
    member.meta.mode = 0o755;
    (member.meta.uid, member.meta.gid) = (uid, gid);
    member.meta.mtime = (now, 0);
    member
}

/// The part of a source that is copied, and where to.
pub struct Chosen<'a> {
    /// The source's path in its tree.
    pub root: &'a [u8],
    /// Where that goes.
    pub to: &'a [u8],
    /// What the context leaves out.
    pub ignore: Option<&'a Ignore>,
    /// What the instruction leaves out; from the source.
    pub exclude: Option<&'a Ignore>,
    /// How it is changed.
    pub change: &'a Change,
    /// What is there already; None where nothing is compared.
    pub destination: Option<&'a Destination<'a>>,
    /// When directories are made, in seconds since 1970.
    pub now: i64,
}

impl Chosen<'_> {
    fn below<'p>(&self, path: &'p [u8]) -> &'p [u8] {
        let rest = &path[self.root.len().min(path.len())..];
        rest.strip_prefix(b"/").unwrap_or(rest)
    }
}

fn taken(ignore: Option<&Ignore>, path: &[u8], is_directory: bool) -> Take {
    let Some(ignore) = ignore.filter(|_| !path.is_empty()) else {
        return Take::All;
    };
    let path = String::from_utf8_lossy(path);
    match (ignore.is_ignored(&path), is_directory) {
        (false, _) => Take::All,
        (true, true) if !ignore.is_closed(&path) => Take::Within,
        _ => Take::Nothing,
    }
}

impl Selection for Chosen<'_> {
    fn take(&self, path: &[u8], is_directory: bool) -> Take {
        let below = self.below(path);
        let of_context = match below.is_empty() {
            // It was asked for by name.
            true => Take::All,
            false => taken(self.ignore, path, is_directory),
        };
        match (of_context, taken(self.exclude, below, is_directory)) {
            (Take::Nothing, _) | (_, Take::Nothing) => Take::Nothing,
            (Take::All, Take::All) => Take::All,
            _ => Take::Within,
        }
    }

    fn place(&self, path: &[u8]) -> Vec<u8> {
        match (self.below(path), self.to) {
            (b"", to) => to.to_vec(),
            (below, b"") => below.to_vec(),
            (below, to) => join(to, below),
        }
    }

    fn adjust(&self, member: &mut Member) -> Result<()> {
        if self.destination.is_some() {
            check_name(&member.path)?;
        }
        let is_top = member.path == self.to;
        if member.kind == Kind::Directory {
            let there = self.destination.map(|there| there.directory(&member.path));
            if let Some(there) = there.transpose()?.flatten() {
                *member = there;
                return Ok(());
            }
            if is_top {
                *member = made(&member.path, (0, 0), self.now);
            }
        } else if let Some(there) = self.destination
            && there
                .directory(&member.path)
                .is_ok_and(|found| found.is_some())
        {
            refuse!(
                Conflict,
                "cannot copy to directory: {}",
                rooted(&member.path)
            );
        }
        self.change.apply(member);
        Ok(())
    }
}
