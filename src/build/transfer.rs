//! COPY, ADD and the directory of WORKDIR: from words to a layer.

use super::chmod::Chmod;
use super::context::Context;
use super::digests::{Remembered, Summing};
use super::dockerfile::instruction::{Source, Transfer};
use super::ignore::Ignore;
use super::layout::{Change, Chosen, Destination, Found, check_name, made, sources};
use super::remote::{Remote, Remotes};
use crate::engine::ground::user::{group_id, resolve};
use crate::engine::request::user::{IdOrName, UserOption};
use crate::error::{demand, refusal};
use crate::image::budget::Budget;
use crate::image::compress;
use crate::image::entry::{self, join, show};
use crate::image::export::Tree;
use crate::image::flavour::Owners;
use crate::image::tarball::{Members, Stream};
use crate::image::tarwrite::{Kind, Member, TarWriter};
use crate::image::view::Node;
use anyhow::{Context as _, Result};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::path::PathBuf;

/// Most bytes of a file that says who there is.
const MAX_PASSWD: u64 = 16 << 20;

/// A COPY or ADD that is to be done.
pub struct Transferring<'a> {
    /// What it says.
    pub transfer: &'a Transfer,
    /// It is ADD: archives are unpacked.
    pub is_add: bool,
    /// What it takes from.
    pub from: Files<'a>,
    /// What was fetched for ADD.
    pub remotes: &'a Remotes,
    /// When directories are made, in seconds since 1970.
    pub now: i64,
}

/// Where files are taken from.
pub enum Files<'a> {
    /// A context, in which they belong to nobody.
    Context(&'a Context),
    /// The trees of layers.
    Layers {
        /// They, the topmost first.
        lowers: &'a [PathBuf],
        /// Who owns files there, where the kernel does not say it.
        owners: Option<&'a Owners>,
    },
}

impl<'a> Files<'a> {
    fn is_context(&self) -> bool {
        matches!(self, Files::Context(_))
    }

    /// What is left out.
    fn ignore(&self) -> Option<&'a Ignore> {
        match self {
            Files::Context(context) => context.ignore.as_ref(),
            Files::Layers { .. } => None,
        }
    }

    /// It, as this process sees it.
    fn tree(&self) -> Result<Tree<'a>> {
        match self {
            Files::Context(context) => context.tree(),
            Files::Layers { lowers, owners } => Tree::new(lowers, *owners),
        }
    }
}

impl Transferring<'_> {
    fn exclude(&self) -> Result<Option<Ignore>> {
        if self.transfer.exclude.is_empty() {
            return Ok(None);
        }
        let ignore = Ignore::of_patterns(&self.transfer.exclude);
        ignore
            .map(Some)
            .map_err(|bad| refusal!(Invalid, "--exclude: {}", bad.text))
    }

    fn change(&self, root: Option<&Tree>) -> Result<Change> {
        let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let owner = match text(&self.transfer.chown) {
            Some(text) => Some(owner(&text, root)?),
            None => self.from.is_context().then_some((0, 0)),
        };
        let mode = text(&self.transfer.chmod).map(|text| Chmod::parse(&text));
        let mode = mode
            .transpose()
            .map_err(|says| refusal!(Invalid, "{says}"))?;
        Ok(Change { owner, mode })
    }

    /// The digest of all that it takes.
    ///
    /// # Errors
    /// A source is not there or cannot be read.
    pub fn digest(&self, remembered: &mut Remembered) -> Result<String> {
        let exclude = self.exclude()?;
        let change = Change {
            owner: self.from.is_context().then_some((0, 0)),
            ..Change::default()
        };
        let from = self.from.tree()?;
        let mut sum = Summing::new(remembered);
        for source in &self.transfer.sources {
            let word = match source {
                Source::Inline(heredoc) => {
                    sum.text(&heredoc.name);
                    sum.text(&heredoc.content);
                    continue;
                }
                Source::Path(word) => word,
            };
            if let Some(Remote { about, .. }) = self.remotes.get(word) {
                sum.text(&about.name);
                sum.text(&format!("{} {:?}", about.digest, about.modified));
                continue;
            }
            for found in sources(&from, &[word], self.from.ignore())? {
                let name = found.written.rsplit(|byte| *byte == b'/').next();
                let to = match found.is_directory() {
                    true => Vec::new(),
                    false => name.unwrap_or_default().to_vec(),
                };
                let chosen = Chosen {
                    root: &found.path,
                    to: &to,
                    ignore: self.from.ignore(),
                    exclude: exclude.as_ref(),
                    change: &change,
                    destination: None,
                    now: 0,
                };
                from.select(found.node, &found.path, &chosen, &mut sum)?;
            }
        }
        Ok(sum.finish())
    }

    /// Writes the layer. `root` is what it goes to, None where that has no files;
    /// `is_apart` says that what is there already does not count (`--link`).
    ///
    /// # Errors
    /// A source is not there, cannot be read, or cannot be where it is to be.
    pub fn write(&self, root: Option<&Tree>, is_apart: bool, out: &mut dyn Write) -> Result<()> {
        let exclude = self.exclude()?;
        let from = self.from.tree()?;
        let change = self.change(root)?;
        let owner = change.owner.filter(|_| self.transfer.chown.is_some());
        let there = Destination::new(root.filter(|_| !is_apart));
        let wanted = &self.transfer.destination;
        let (place, is_directory) = there.place(wanted.as_bytes())?;
        let mut writing = Writing {
            out: TarWriter::new(out),
            made: HashSet::new(),
            there: &there,
            owner: owner.unwrap_or((0, 0)),
            now: self.now,
        };
        // What was copied already may have made it one.
        let mut is_directory = wanted.ends_with('/') || is_directory == Some(true);
        for source in &self.transfer.sources {
            let word = match source {
                Source::Inline(heredoc) => {
                    let name = heredoc.name.as_bytes();
                    let to = if is_directory {
                        join(&place, name)
                    } else {
                        place.clone()
                    };
                    writing.text(&to, &heredoc.content, &change)?;
                    continue;
                }
                Source::Path(word) => word,
            };
            if let Some(remote) = self.remotes.get(word) {
                let unpacked = match self.transfer.unpack {
                    Some(true) => tar_of(clone_of(&remote.file)?)?,
                    _ => None,
                };
                if let Some(archive) = unpacked {
                    writing.above(&join_all(&place, b"x"))?;
                    writing.unpack(archive, &place, change.owner.filter(|_| owner.is_some()))?;
                    is_directory = true;
                    continue;
                }
                let name = remote.about.name.as_bytes();
                demand!(
                    Invalid,
                    !is_directory || !name.is_empty(),
                    "ADD {word}: the address has no file's name: say how it is called in {wanted}"
                );
                let to = if is_directory {
                    join_all(&place, name)
                } else {
                    place.clone()
                };
                writing.remote(&to, remote, &change)?;
                continue;
            }
            for found in sources(&from, &[word], self.from.ignore())? {
                let name = found
                    .written
                    .rsplit(|byte| *byte == b'/')
                    .next()
                    .unwrap_or_default();
                let unpacked = match &found.node {
                    Node::Other(_) if self.unpacks() => archive(&found.node)?,
                    _ => None,
                };
                let to = if self.transfer.parents {
                    let kept = after_pivot(word, &found.written);
                    writing.parents_of(&from, &found, &kept, &place, &change)?;
                    if kept.is_empty() {
                        place.clone()
                    } else {
                        join_all(&place, &kept)
                    }
                } else if found.is_directory() || unpacked.is_some() || !is_directory {
                    place.clone()
                } else {
                    join_all(&place, name)
                };
                if let Some(archive) = unpacked {
                    writing.above(&join_all(&to, b"x"))?;
                    writing.unpack(archive, &to, change.owner.filter(|_| owner.is_some()))?;
                    is_directory = true;
                    continue;
                }
                is_directory |= found.is_directory();
                writing.above(&to)?;
                let chosen = Chosen {
                    root: &found.path,
                    to: &to,
                    ignore: self.from.ignore(),
                    exclude: exclude.as_ref(),
                    change: &change,
                    destination: Some(&there),
                    now: self.now,
                };
                from.select(found.node, &found.path, &chosen, &mut writing.out)?;
            }
        }
        writing.out.finish().context("write the archive")?;
        Ok(())
    }

    fn unpacks(&self) -> bool {
        self.is_add && self.transfer.unpack != Some(false)
    }
}

fn join_all(place: &[u8], below: &[u8]) -> Vec<u8> {
    match place {
        b"" => below.to_vec(),
        place => join(place, below),
    }
}

/// The part of a source's path that `--parents` keeps: behind `/./`, if that is there.
fn after_pivot(word: &str, written: &[u8]) -> Vec<u8> {
    let Some((before, _)) = word.split_once("/./") else {
        return written.to_vec();
    };
    let passed = before
        .split('/')
        .filter(|name| !matches!(*name, "" | "."))
        .count();
    let names: Vec<&[u8]> = written.split(|byte| *byte == b'/').skip(passed).collect();
    names.join(&b'/')
}

struct Writing<'a, W> {
    out: TarWriter<W>,
    /// Directories that are in the archive.
    made: HashSet<Vec<u8>>,
    there: &'a Destination<'a>,
    /// Of directories that are made.
    owner: (u32, u32),
    now: i64,
}

impl<W: Write> Writing<'_, W> {
    /// The directories above a path.
    fn above(&mut self, path: &[u8]) -> Result<()> {
        check_name(path)?;
        for member in self.there.above(path, self.owner, self.now)? {
            if self.made.insert(member.path.clone()) {
                self.out.header(&member).context("write the archive")?;
            }
        }
        Ok(())
    }

    /// The directories that `--parents` takes along.
    fn parents_of(
        &mut self,
        from: &Tree,
        found: &Found,
        kept: &[u8],
        place: &[u8],
        change: &Change,
    ) -> Result<()> {
        self.above(&join_all(place, b"x"))?;
        let passed = found.written.len() - kept.len();
        for end in (0..kept.len()).filter(|at| kept[*at] == b'/') {
            let path = &found.written[..passed + end];
            let to = join_all(place, &kept[..end]);
            let node = from.view().locate_followed(path)?;
            let Some((real, Node::Directory(directory))) = node else {
                continue;
            };
            let mut member = from.describe(&directory, &real)?;
            member.path.clone_from(&to);
            change.apply(&mut member);
            if self.there.directory(&to)?.is_none() && self.made.insert(to) {
                self.out.header(&member).context("write the archive")?;
            }
        }
        Ok(())
    }

    fn text(&mut self, to: &[u8], text: &str, change: &Change) -> Result<()> {
        self.above(to)?;
        let mut member = Member {
            kind: Kind::File(text.len() as u64),
            ..made(to, (0, 0), self.now)
        };
        member.meta.mode = 0o644;
        change.apply(&mut member);
        self.out.file_by(&member, text.len() as u64, |out| {
            Ok(out.write_all(text.as_bytes())?)
        })
    }

    /// A file that was fetched; as with BuildKit, it is its owner's alone.
    fn remote(&mut self, to: &[u8], remote: &Remote, change: &Change) -> Result<()> {
        self.above(to)?;
        let size = remote.about.size;
        let mut member = Member {
            kind: Kind::File(size),
            ..made(to, (0, 0), remote.about.modified.unwrap_or(0))
        };
        member.meta.mode = 0o600;
        change.apply(&mut member);
        let mut file = clone_of(&remote.file)?;
        self.out.file_by(&member, size, |out| {
            std::io::copy(&mut file, out).context("read what was fetched")?;
            Ok(())
        })
    }

    /// What an archive holds.
    fn unpack(&mut self, archive: File, to: &[u8], owner: Option<(u32, u32)>) -> Result<()> {
        let plain = compress::plain(BufReader::with_capacity(1 << 17, archive))?;
        let mut members = Members::literal(Stream(plain), Budget::default());
        while let Some(entry) = members.next()? {
            let path = join_all(to, &entry.path);
            let path = if entry.path.is_empty() {
                to.to_vec()
            } else {
                path
            };
            let mut meta = entry.meta.clone();
            if let Some((uid, gid)) = owner {
                (meta.uid, meta.gid) = (uid, gid);
            }
            meta.xattrs
                .retain(|(name, _)| name == b"security.capability");
            self.above(&path)?;
            let kind = match entry.kind {
                entry::Kind::File => Kind::File(entry.size),
                entry::Kind::Directory => Kind::Directory,
                entry::Kind::Symlink(target) => Kind::Symlink(target),
                entry::Kind::Link(target) => Kind::Link(join_all(to, &target)),
                entry::Kind::Device(device) => Kind::Special(device),
                entry::Kind::Fifo => Kind::Special(crate::image::record::FileType::Pipe),
                entry::Kind::Whiteout | entry::Kind::Opaque | entry::Kind::Ignored => continue,
            };
            if kind == Kind::Directory {
                self.made.insert(path.clone());
            }
            let member = Member { path, kind, meta };
            let size = entry.size;
            match (&member.kind, &entry.pieces) {
                (Kind::File(_), None) => {
                    let copy = |out: &mut dyn Write| {
                        let copied = std::io::copy(&mut (&mut members).take(size), out)?;
                        demand!(
                            Invalid,
                            copied == size,
                            "unexpected EOF: the archive is truncated"
                        );
                        Ok(())
                    };
                    self.out.file_by(&member, size, copy)
                }
                (Kind::File(_), Some(pieces)) => self.out.file_by(&member, size, |out| {
                    let mut at = 0;
                    for piece in pieces {
                        std::io::copy(&mut std::io::repeat(0).take(piece.offset - at), out)?;
                        let copied = std::io::copy(&mut (&mut members).take(piece.length), out)?;
                        demand!(
                            Invalid,
                            copied == piece.length,
                            "unexpected EOF: the archive is truncated"
                        );
                        at = piece.offset + piece.length;
                    }
                    std::io::copy(&mut std::io::repeat(0).take(size - at), out)?;
                    Ok(())
                }),
                _ => self.out.header(&member).context("write the archive"),
            }
            .with_context(|| show(&member.path))?;
        }
        Ok(())
    }
}

/// A file that is an archive, by what is in it.
fn archive(node: &Node) -> Result<Option<File>> {
    let Node::Other(other) = node else {
        return Ok(None);
    };
    if other.stat.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Ok(None);
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = openat(&*other.parent, &*other.name, flags, Mode::empty());
    tar_of(File::from(file.with_context(|| show(&other.name))?))
}

/// A fetched file from its beginning.
fn clone_of(file: &File) -> Result<File> {
    let mut file = file.try_clone().context("read what was fetched")?;
    file.rewind().context("read what was fetched")?;
    Ok(file)
}

/// The file, if it is an archive.
fn tar_of(mut file: File) -> Result<Option<File>> {
    let mut block = [0; entry::BLOCK];
    let is_tar = compress::plain(&file).is_ok_and(|mut plain| {
        plain.read_exact(&mut block).is_ok()
            && entry::Header::parse(&block).is_ok_and(|h| h.is_some())
    });
    file.rewind().context("read")?;
    Ok(is_tar.then_some(file))
}

/// Who `--chown` means, by the files of the image; whom those do not have is root.
fn owner(text: &str, root: Option<&Tree>) -> Result<(u32, u32)> {
    let read = |path: &str| -> Result<Vec<u8>> {
        let found = root
            .map(|root| root.view().read(path, MAX_PASSWD))
            .transpose()?;
        Ok(found.flatten().unwrap_or_default())
    };
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let number = |text: &str| text.parse::<u32>().ok();
    let (uid, own_group) = match number(user) {
        Some(uid) => (uid, uid),
        None if user.is_empty() => (0, 0),
        None => {
            let option: UserOption = user.parse()?;
            let found = resolve(&option, &read("etc/passwd")?, &[]);
            found.map_or((0, 0), |found| (found.uid, found.gid))
        }
    };
    let gid = match group {
        None | Some("") => own_group,
        Some(group) => match number(group) {
            Some(gid) => gid,
            None => {
                let name = IdOrName::Name(group.to_owned());
                group_id(&name, &read("etc/group")?).unwrap_or(0)
            }
        },
    };
    Ok((uid, gid))
}

/// Writes the layer of WORKDIR: the directory, and those above it, of `user`.
///
/// # Errors
/// Something else is there.
pub fn directory(
    path: &str,
    user: &str,
    root: Option<&Tree>,
    now: i64,
    out: &mut dyn Write,
) -> Result<()> {
    let there = Destination::new(root);
    let (place, _) = there.place(path.as_bytes())?;
    let owner = owner(user, root)?;
    let mut out = TarWriter::new(out);
    for member in there.above(&join_all(&place, b"x"), owner, now)? {
        out.header(&member).context("write the archive")?;
    }
    out.finish().context("write the archive")?;
    Ok(())
}
