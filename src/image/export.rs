//! Writing a stack of trees as one tar: what a container sees, with the
//! owners, modes, devices and attributes that were recorded.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstatat};

use super::copy::{Opened, names};
use super::digest::unhex;
use super::entry::{Fate, Metadata, fate, is_roots, join, show};
use super::flavour;
use super::layer::About;
use super::owners::Owners;
use super::record::{
    ATTRIBUTE_PREFIX, FileType, OPAQUE, OVERRIDE_STAT, Record, Records, Stat, escape, unescape,
};
use super::tarwrite::{Kind, Links, Member, TarWriter};
use super::unpack::is_whiteout;
use super::view::{LOOKS, LayerDir, Merged, Node, Other, View, is_fleeting};
use crate::sys::fs::{identity, is_same, vanished};
use crate::sys::xattr;

/// Writes what `lowers` (the topmost first) show together to `out`. `owners` are those
/// of the container whose changes are the topmost tree, if any. `true_owners`
/// are given where files have true owners, and the process sees them.
///
/// A running container may change its files meanwhile: each file is as it was
/// at some moment, and what vanishes before its turn is left out.
pub fn export<W: Write>(
    lowers: &[PathBuf],
    owners: Option<&mut Owners>,
    true_owners: Option<&flavour::Owners>,
    out: TarWriter<W>,
) -> Result<W> {
    let mut known = None;
    if let Some(owners) = owners {
        owners.refresh().context("read the recorded owners")?;
        known = Some(&*owners);
    }
    let records: Result<Vec<Records>> = lowers
        .iter()
        .map(|tree| About::records_beside(tree))
        .collect();
    let records = records?;
    let mut exporting = Exporting {
        changes: known.is_some(),
        owners: known,
        true_owners,
        records: &records,
        below: None,
        links: Links::default(),
        begun: false,
        layer: false,
        selection: None,
        pending: Vec::new(),
        out,
    };
    if exporting.changes && true_owners.is_some() {
        exporting.below = below(&lowers[1..])?;
    }
    let view = View::new(lowers)?;
    exporting.directory(&view.root(), b"")?;
    exporting.out.finish().context("write the archive")
}

fn below(lowers: &[PathBuf]) -> Result<Option<View>> {
    match lowers {
        [] => Ok(None),
        lowers => Ok(Some(View::new(lowers)?)),
    }
}

/// Writes what one container changed, the directory `upper` over `lowers`, as a
/// layer: what hides files of lower layers as whiteouts of the OCI image
/// specification (layer.md).
pub fn export_layer<W: Write>(
    upper: &Path,
    lowers: &[PathBuf],
    owners: &mut Owners,
    true_owners: Option<&flavour::Owners>,
    out: W,
) -> Result<W> {
    owners.refresh().context("read the recorded owners")?;
    let records = [Records::new()];
    let mut exporting = Exporting {
        changes: true,
        owners: Some(owners),
        true_owners,
        records: &records,
        below: match true_owners {
            Some(_) => below(lowers)?,
            None => None,
        },
        links: Links::default(),
        begun: false,
        layer: true,
        selection: None,
        pending: Vec::new(),
        out: TarWriter::new(out),
    };
    let view = View::new(&[upper.to_owned()])?;
    exporting.directory(&view.root(), b"")?;
    exporting.out.finish().context("write the archive")
}

/// Whether something of a tree is part of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// It is.
    All,
    /// It is if something below it is.
    Within,
    /// It is not, nor is anything below it.
    Nothing,
}

/// What of a tree is written, and as what. Paths are those in the tree.
pub trait Selection {
    /// Whether `path` is.
    fn take(&self, path: &[u8], is_directory: bool) -> Take;

    /// What `path` is called.
    fn place(&self, path: &[u8]) -> Vec<u8>;

    /// Changes what is said of a file, which is called as it is placed.
    ///
    /// # Errors
    /// It cannot be there.
    fn adjust(&self, member: &mut Member) -> Result<()>;
}

/// Where members go.
pub trait Sink {
    /// One without data.
    ///
    /// # Errors
    /// It cannot be written.
    fn header(&mut self, member: &Member) -> Result<()>;

    /// A regular file with what is in it; its kind is made here.
    ///
    /// # Errors
    /// It cannot be read or written.
    fn regular(&mut self, member: &mut Member, file: &std::fs::File) -> Result<()>;
}

impl Sink for &mut dyn Sink {
    fn header(&mut self, member: &Member) -> Result<()> {
        (**self).header(member)
    }

    fn regular(&mut self, member: &mut Member, file: &std::fs::File) -> Result<()> {
        (**self).regular(member, file)
    }
}

impl<W: Write> Sink for TarWriter<W> {
    fn header(&mut self, member: &Member) -> Result<()> {
        TarWriter::header(self, member).context("write the archive")
    }

    fn regular(&mut self, member: &mut Member, file: &std::fs::File) -> Result<()> {
        TarWriter::regular(self, member, file)
    }
}

/// A stack of trees of an image, or one plain directory, where nothing changes.
pub struct Tree<'a> {
    view: View,
    records: Vec<Records>,
    true_owners: Option<&'a flavour::Owners>,
}

impl<'a> Tree<'a> {
    /// That of `lowers`, the topmost first. `true_owners` are given where files have
    /// them; else they are as recorded, and root's where nothing is.
    ///
    /// # Errors
    /// One cannot be opened.
    pub fn new(lowers: &[PathBuf], true_owners: Option<&'a flavour::Owners>) -> Result<Tree<'a>> {
        let records: Result<Vec<Records>> = lowers
            .iter()
            .map(|tree| About::records_beside(tree))
            .collect();
        Ok(Tree {
            view: View::new(lowers)?,
            records: records?,
            true_owners,
        })
    }

    /// That of a directory that is no layer, whatever it is called: nothing is recorded of
    /// its files.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn plain(directory: &Path) -> Result<Tree<'static>> {
        Ok(Tree {
            view: View::new(&[directory.to_owned()])?,
            records: vec![Records::new()],
            true_owners: None,
        })
    }

    /// What it shows.
    pub fn view(&self) -> &View {
        &self.view
    }

    fn exporting<'t, O>(&'t self, out: O) -> Exporting<'t, O> {
        Exporting {
            changes: false,
            owners: None,
            true_owners: self.true_owners,
            records: &self.records,
            below: None,
            links: Links::default(),
            begun: false,
            layer: false,
            selection: None,
            pending: Vec::new(),
            out,
        }
    }

    /// What is to be said of a directory that has the true path `path`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn describe(&self, directory: &Merged, path: &[u8]) -> Result<Member> {
        self.exporting(Nowhere).head(directory, path)
    }

    /// Writes the selected part of what `node` is, whose true path is `path`.
    ///
    /// # Errors
    /// Something cannot be read or written.
    pub fn select(
        &self,
        node: Node,
        path: &[u8],
        selection: &dyn Selection,
        out: &mut dyn Sink,
    ) -> Result<()> {
        let mut exporting = self.exporting(out);
        exporting.selection = Some(selection);
        match node {
            Node::Directory(directory) => {
                if selection.take(path, true) == Take::Nothing {
                    return Ok(());
                }
                exporting.directory(&directory, path)
            }
            Node::Other(other) => match selection.take(path, false) {
                Take::Nothing => Ok(()),
                _ => exporting.other(&other, path),
            },
        }
        .with_context(|| show(path))
    }
}

/// Where nothing goes.
struct Nowhere;

/// What a directory is, before anything of it is written.
struct Seen {
    member: Member,
    /// What it hides of layers below.
    hidden: Vec<Vec<u8>>,
    children: BTreeMap<Vec<u8>, Node>,
}

struct Exporting<'a, O> {
    /// Whether the topmost tree is a container's changes, where modes on the
    /// files are later than the records.
    changes: bool,
    owners: Option<&'a Owners>,
    /// How to read the owners that files have; else they are root's.
    true_owners: Option<&'a flavour::Owners>,
    /// By layer.
    records: &'a [Records],
    /// What a container's changes stand on, where owners are true.
    below: Option<View>,
    links: Links,
    /// Part of what is being written is in the archive.
    begun: bool,
    /// The tree is written as a layer of an image.
    layer: bool,
    /// What of it is written; all of it if None.
    selection: Option<&'a dyn Selection>,
    /// Directories that are written when something below them is.
    pending: Vec<Member>,
    out: O,
}

impl<O> Exporting<'_, O> {
    /// What is said of a directory.
    fn head(&self, directory: &Merged, path: &[u8]) -> Result<Member> {
        let top = directory.deciding();
        let stat = top.stat()?;
        let record = self.record(top.layer, path);
        let attributes = self.attributes(top, record.as_ref())?;
        let recorded = match self.true_owners {
            Some(_) => None,
            None => recorded(top, record.as_ref())?,
        };
        let mut member = self.member(path, Kind::Directory, top.layer, &stat, recorded);
        member.meta.xattrs = attributes;
        Ok(member)
    }

    /// All that is read of a directory itself. A running container may shut it
    /// meanwhile, and then it can be looked at again: nothing is written yet.
    fn look(&self, directory: &Merged, path: &[u8]) -> Result<Seen> {
        let top = directory.deciding();
        Ok(Seen {
            member: self.head(directory, path)?,
            hidden: match self.layer {
                true => hidden(top)?,
                false => Vec::new(),
            },
            children: directory.children()?,
        })
    }

    /// The extended attributes of an open file or directory: its own, those
    /// recorded on it where it cannot have them, those beside the tree.
    fn attributes(
        &self,
        file: impl AsFd,
        record: Option<&Record>,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut found = beside(record)?;
        for key in xattr::list(&file).context("list attributes")? {
            let bytes = key.to_bytes();
            let name = match bytes.strip_prefix(ATTRIBUTE_PREFIX) {
                Some(name) if self.true_owners.is_none() => name,
                None if bytes.starts_with(b"user.") && fate(bytes) == Fate::Set => bytes,
                None if is_roots(bytes) => bytes,
                _ => continue,
            };
            if let Some(value) = xattr::get(&file, &key).context("read attribute")? {
                found.insert(name.to_vec(), value);
            }
        }
        Ok(found.into_iter().collect())
    }

    fn record(&self, layer: usize, path: &[u8]) -> Option<Record> {
        self.records[layer].get(&escape(path)).cloned()
    }

    fn member(
        &self,
        path: &[u8],
        kind: Kind,
        layer: usize,
        stat: &FileStat,
        recorded: Option<Stat>,
    ) -> Member {
        let actual = stat.st_mode & 0o7777;
        let owner = match (self.true_owners, recorded) {
            (Some(owners), _) => owners.in_image(stat),
            (None, Some(recorded)) => (recorded.uid, recorded.gid),
            (None, None) => (0, 0),
        };
        Member {
            path: path.to_vec(),
            kind,
            meta: Metadata {
                mode: match recorded {
                    Some(recorded) if layer > 0 || !self.changes => recorded.mode,
                    _ => actual,
                },
                uid: owner.0,
                gid: owner.1,
                mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
                xattrs: Vec::new(),
            },
        }
    }

    /// Whether `path` is such a device in what the changes stand on.
    fn is_below(&self, kind: FileType, path: &[u8]) -> Result<bool> {
        let found = self.below.as_ref().map(|view| view.locate(path));
        let Some((_, Node::Other(other))) = found.transpose()?.flatten() else {
            return Ok(false);
        };
        if other.stat.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Ok(false);
        }
        let file = Opened::new(&*other.parent, &other.name, &other.stat).context("open")?;
        Ok(recorded(&*file, None)?.is_some_and(|found| found.kind == kind))
    }
}

impl<O: Sink> Exporting<'_, O> {
    fn directory(&mut self, directory: &Merged, path: &[u8]) -> Result<()> {
        let seen = self.look(directory, path)?;
        self.contents(directory, seen, path)
    }

    /// What is selected of a path.
    fn take(&self, path: &[u8], is_directory: bool) -> Take {
        let take = |s: &dyn Selection| s.take(path, is_directory);
        self.selection.map_or(Take::All, take)
    }

    /// What a path is called.
    fn place(&self, path: &[u8]) -> Vec<u8> {
        self.selection
            .map_or_else(|| path.to_vec(), |s| s.place(path))
    }

    /// Gives a member the place and the properties that it is to have, and writes the
    /// directories above it that were waiting for something to be in them.
    fn settle(&mut self, member: &mut Member) -> Result<()> {
        if let Some(selection) = self.selection {
            member.path = selection.place(&member.path);
            selection.adjust(member)?;
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        for member in self.pending.drain(..) {
            self.out.header(&member)?;
        }
        Ok(())
    }

    fn contents(&mut self, directory: &Merged, mut seen: Seen, path: &[u8]) -> Result<()> {
        let waiting = self.pending.len();
        if self.take(path, true) == Take::Within {
            if let Some(selection) = self.selection {
                seen.member.path = selection.place(&seen.member.path);
                selection.adjust(&mut seen.member)?;
            }
            self.pending.push(seen.member.clone());
        } else {
            self.settle(&mut seen.member)?;
            self.out.header(&seen.member)?;
        }
        for name in seen.hidden {
            let member = Member {
                path: join(path, &name),
                kind: Kind::File(0),
                meta: Metadata::default(),
            };
            self.out.header(&member)?;
        }
        for (name, node) in seen.children {
            let here = join(path, &name);
            // A layer cannot have a file that looks like a whiteout.
            if self.layer && name.starts_with(b".wh.") {
                continue;
            }
            let is_directory = matches!(node, Node::Directory(_));
            if self.take(&here, is_directory) != Take::Nothing {
                self.entry(directory, &name, node, &here)?;
            }
        }
        self.pending.truncate(waiting);
        Ok(())
    }

    /// Writes what `name` is in a directory. If that is something else when it
    /// is opened than when it was looked at, it is looked at again.
    fn entry(&mut self, directory: &Merged, name: &[u8], node: Node, path: &[u8]) -> Result<()> {
        let mut node = Some(node);
        let mut looks = 0;
        loop {
            let again = |e: &anyhow::Error| looks < LOOKS && is_fleeting(e);
            match node {
                None => return Ok(()),
                Some(Node::Directory(below)) => match self.look(&below, path) {
                    Err(e) if again(&e) => {}
                    seen => {
                        let seen = seen.with_context(|| show(path))?;
                        return self.contents(&below, seen, path);
                    }
                },
                Some(Node::Other(other)) => match self.other(&other, path) {
                    Err(e) if again(&e) && !self.begun => {}
                    done => return done.with_context(|| show(path)),
                },
            }
            looks += 1;
            node = directory.child(name).with_context(|| show(path))?;
        }
    }

    fn other(&mut self, other: &Other, path: &[u8]) -> Result<()> {
        let stat = &other.stat;
        self.begun = false;
        if let Some(member) = self.links.again(stat, &self.place(path)) {
            self.begun = true;
            self.flush()?;
            return self.out.header(&member);
        }
        let written = match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => self.regular(other, path)?,
            libc::S_IFLNK | libc::S_IFIFO => self.special(other, path)?,
            // Sockets have no place in a tar; devices do not occur in trees of
            // ordinary users, but in the host's own.
            _ => return Ok(()),
        };
        self.links.note(stat, written);
        Ok(())
    }

    fn regular(&mut self, other: &Other, path: &[u8]) -> Result<Member> {
        let file = Opened::new(&*other.parent, &other.name, &other.stat).context("open")?;
        let layer = other.parent.layer;
        let record = self.record(layer, path);
        let recorded = recorded(&*file, record.as_ref())?;
        let recorded = match (self.true_owners, recorded) {
            (Some(owners), Some(found)) => {
                let images = layer > 0 || !self.changes || owners.are_roots_alone(&other.stat);
                (images || self.is_below(found.kind, path)?).then_some(found)
            }
            (_, found) => found,
        };
        let kind = match recorded.map(|r| r.kind) {
            Some(device @ (FileType::Block(..) | FileType::Char(..))) => Kind::Special(device),
            _ => Kind::File(0),
        };
        let attributes = self.attributes(&*file, record.as_ref())?;
        let mut member = self.member(path, kind, layer, &other.stat, recorded);
        member.meta.xattrs = attributes;
        self.begun = true;
        self.settle(&mut member)?;
        match member.kind {
            Kind::File(_) => self.out.regular(&mut member, &file)?,
            _ => self.out.header(&member)?,
        }
        Ok(member)
    }

    /// Symbolic links and pipes.
    fn special(&mut self, other: &Other, path: &[u8]) -> Result<Member> {
        let (layer, stat) = (other.parent.layer, &other.stat);
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(&*other.parent, &*other.name, flags, Mode::empty());
        let fd = fd.map_err(vanished).context("open")?;
        if !is_same(&fd, stat)? {
            return Err(Errno::ESTALE.into());
        }
        let kind = match stat.st_mode & libc::S_IFMT {
            libc::S_IFLNK => Kind::Symlink(readlinkat(&fd, c"").context("read link")?.into_vec()),
            _ => Kind::Special(FileType::Pipe),
        };
        let record = self.record(layer, path);
        let mut recorded = parse(record.as_ref())?;
        if let Some(owners) = self.owners {
            recorded = owners.get(identity(&fd)?).or(recorded);
        }
        let mut member = self.member(path, kind, layer, stat, recorded);
        if matches!(member.kind, Kind::Symlink(_)) {
            member.meta.mode = 0o777;
        }
        member.meta.xattrs = beside(record.as_ref())?.into_iter().collect();
        self.begun = true;
        self.settle(&mut member)?;
        self.out.header(&member)?;
        Ok(member)
    }
}

fn parse(record: Option<&Record>) -> Result<Option<Stat>> {
    let text = record.and_then(|r| r.stat.as_deref());
    text.map(str::parse).transpose()
}

/// What an open file or directory is recorded as.
fn recorded(file: impl AsFd, record: Option<&Record>) -> Result<Option<Stat>> {
    let text = xattr::get(&file, OVERRIDE_STAT).context("read the recorded owner")?;
    // A container's process may have written anything.
    match text.and_then(|text| String::from_utf8_lossy(&text).parse().ok()) {
        Some(found) => Ok(Some(found)),
        None => parse(record),
    }
}

/// The names by which a layer says what a directory of the changes hides of
/// those below it.
fn hidden(directory: &LayerDir) -> Result<Vec<Vec<u8>>> {
    let mut whiteouts = Vec::new();
    if xattr::get(directory, OPAQUE)?.as_deref() == Some(b"y") {
        whiteouts.push(b".wh..wh..opq".to_vec());
    }
    for name in names(directory)? {
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
        match fstatat(directory, &*name, flags) {
            Ok(stat) if is_whiteout(&stat) => {
                whiteouts.push([b".wh.", name.to_bytes()].concat());
            }
            _ => {}
        }
    }
    whiteouts.sort();
    Ok(whiteouts)
}

/// Extended attributes that stand beside the tree.
fn beside(record: Option<&Record>) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for (name, value) in record.iter().flat_map(|r| &r.xattrs) {
        let value = unhex(value).with_context(|| format!("attribute {name} in layer.json"))?;
        found.insert(unescape(name), value);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn names_that_change_their_type_are_written_and_nothing_else_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let (top, outside) = (dir.path().join("top"), dir.path().join("outside"));
        fs::create_dir(&top).unwrap();
        fs::write(&outside, "somebody's").unwrap();
        fs::set_permissions(&outside, Permissions::from_mode(0o600)).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let x = top.join("x");
                let mode = |mode| fs::set_permissions(&x, Permissions::from_mode(mode)).unwrap();
                while !done.load(Ordering::Relaxed) {
                    fs::write(&x, "text").unwrap();
                    mode(0o077);
                    fs::remove_file(&x).unwrap();
                    symlink(&outside, &x).unwrap();
                    fs::remove_file(&x).unwrap();
                    fs::create_dir(&x).unwrap();
                    mode(0o077);
                    fs::remove_dir(&x).unwrap();
                    symlink(&outside, &x).unwrap();
                    fs::remove_file(&x).unwrap();
                    nix::unistd::mkfifo(&x, Mode::S_IRWXU).unwrap();
                    fs::remove_file(&x).unwrap();
                }
            });
            let export = || {
                for _ in 0..3000 {
                    let out = TarWriter::new(Vec::new());
                    export(std::slice::from_ref(&top), None, None, out)?;
                }
                anyhow::Ok(())
            };
            let exported = export();
            done.store(true, Ordering::Relaxed);
            exported.unwrap();
        });
        let mode = fs::metadata(&outside).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "a link was followed");
    }
}
