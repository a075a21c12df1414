//! What a stack of layers shows as one tree, worked out without mounting it.
//!
//! The rules are those of overlay with `userxattr`: the topmost layer that has
//! a name decides; directories merge down to the first layer where something
//! else has the name, or where the directory is opaque; a character device 0/0
//! hides. Symbolic links are followed inside the stack, with its root as `/`.

use crate::error::{Kind, demand, refusal, refuse};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, fstatat, stat};

use super::record::{OPAQUE, says_nothing};
use super::unpack::{DIRECTORY, is_whiteout};
use crate::sys::fs::{is_same, open_shut};
use crate::sys::xattr;

const MAX_LINKS: u32 = 40;

/// A stack of directories seen as one.
pub struct View {
    root: Rc<Merged>,
}

/// What a path is in the merged tree.
#[derive(Clone)]
pub enum Node {
    /// A directory.
    Directory(Rc<Merged>),
    /// Anything else, as the layer that decides has it.
    Other(Other),
}

/// A file that is no directory: where it is and what `lstat` says.
#[derive(Clone)]
pub struct Other {
    /// The directory of the deciding layer.
    pub parent: Rc<LayerDir>,
    /// The name in it.
    pub name: Vec<u8>,
    /// Its status.
    pub stat: FileStat,
}

/// A merged directory: the same directory in each layer that contributes, the
/// topmost first.
pub struct Merged {
    /// Never empty.
    pub layers: Vec<Rc<LayerDir>>,
}

/// An open directory of one layer. One whose mode shuts out its owner (images
/// have such) is opened up for as long as it is in use.
pub struct LayerDir {
    fd: OwnedFd,
    shut: Option<Mode>,
    /// Which layer of the stack it belongs to; 0 is the topmost.
    pub layer: usize,
}

impl LayerDir {
    fn open(parent: &LayerDir, name: &[u8], stat: &FileStat) -> nix::Result<LayerDir> {
        let (fd, shut) = open_shut(parent, name, stat, Mode::S_IRUSR | Mode::S_IXUSR)?;
        let layer = parent.layer;
        Ok(LayerDir { fd, shut, layer })
    }

    /// The root of a layer.
    fn root(path: &Path, layer: usize) -> io::Result<LayerDir> {
        let open = || File::open(path);
        let (file, shut) = match open() {
            Err(closed) if closed.kind() == io::ErrorKind::PermissionDenied => {
                let mode = fs::symlink_metadata(path)?.mode() & 0o7777;
                let opened = fs::set_permissions(path, Permissions::from_mode(0o700));
                // Somebody else's: who asks may know where it is readable.
                if mode & 0o500 == 0o500 || opened.is_err() {
                    return Err(closed);
                }
                (open()?, Some(Mode::from_bits_truncate(mode)))
            }
            other => (other?, None),
        };
        Ok(LayerDir {
            fd: file.into(),
            shut,
            layer,
        })
    }

    /// Its status, with the mode that it really has. A root of which nothing
    /// is known has the time zero.
    pub fn stat(&self) -> Result<FileStat> {
        let mut stat = fstat(&self.fd)?;
        if let Some(mode) = self.shut {
            stat.st_mode = stat.st_mode & !0o7777 | mode.bits();
        }
        if says_nothing(&stat) {
            stat.st_mtime_nsec = 0;
        }
        Ok(stat)
    }

    fn says_nothing(&self) -> bool {
        fstat(&self.fd).is_ok_and(|stat| says_nothing(&stat))
    }
}

impl AsFd for LayerDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for LayerDir {
    fn drop(&mut self) {
        if let Some(mode) = self.shut {
            let _ = fchmod(&self.fd, mode);
        }
    }
}

impl View {
    /// The view of `lowers`, the **topmost first**, as in overlay's
    /// `lowerdir=`. One plain directory is a stack of one.
    pub fn new(lowers: &[PathBuf]) -> Result<View> {
        demand!(
            Invalid,
            !lowers.is_empty(),
            "an image without layers has no files"
        );
        let mut layers = Vec::with_capacity(lowers.len());
        for (layer, path) in lowers.iter().enumerate() {
            let root = LayerDir::root(path, layer);
            layers.push(Rc::new(
                root.with_context(|| format!("open {}", path.display()))?,
            ));
        }
        let root = Rc::new(Merged { layers });
        Ok(View { root })
    }

    /// The root directory.
    pub fn root(&self) -> Rc<Merged> {
        self.root.clone()
    }

    /// The content of the regular file at `path` (links are followed); None if
    /// there is none. A file of more than `limit` bytes is an error.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let context = || format!("read {path} of the image");
        let Some(Node::Other(file)) = self.find(path.as_bytes()).with_context(context)? else {
            return Ok(None);
        };
        if file.stat.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Ok(None);
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = openat(&file.parent, &*file.name, flags, Mode::empty()).with_context(context)?;
        if !is_same(&fd, &file.stat)? {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        File::from(fd)
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .with_context(context)?;
        if bytes.len() as u64 > limit {
            return Err(refusal!(Invalid, "it has more than {limit} bytes")).with_context(context);
        }
        Ok(Some(bytes))
    }

    /// What is at `path`, all links followed; None if there is nothing.
    pub fn find(&self, path: &[u8]) -> Result<Option<Node>> {
        Ok(self.resolve(path, true)?.map(|(_, node)| node))
    }

    /// What is at `path`, links followed on the way but not at the end, with
    /// its true path (no links in it, relative).
    pub fn locate(&self, path: &[u8]) -> Result<Option<(Vec<u8>, Node)>> {
        self.resolve(path, false)
    }

    /// What is at `path`, all links followed, with its true path.
    pub fn locate_followed(&self, path: &[u8]) -> Result<Option<(Vec<u8>, Node)>> {
        self.resolve(path, true)
    }

    /// The true path of what is at `path`, all links followed; what is missing
    /// keeps its name. A mount that is made there stands on it.
    pub fn place(&self, path: &[u8]) -> Result<Vec<u8>> {
        let mut trail: Vec<(Vec<u8>, Option<Rc<Merged>>)> = Vec::new();
        let mut pending = Vec::new();
        let mut links = 0;
        push(&mut pending, path);
        while let Some(name) = pending.pop() {
            if name == b".." {
                trail.pop();
                continue;
            }
            let here = trail.last().map_or(Some(&self.root), |(_, d)| d.as_ref());
            let node = here.map(|directory| directory.child(&name)).transpose()?;
            let directory = match node.flatten() {
                Some(Node::Directory(directory)) => Some(directory),
                Some(Node::Other(other)) if other.stat.st_mode & libc::S_IFMT == libc::S_IFLNK => {
                    links += 1;
                    if links > MAX_LINKS {
                        refuse!(Invalid, "too many symbolic links");
                    }
                    let target = readlinkat(&other.parent, &*name)?.into_vec();
                    if target.starts_with(b"/") {
                        trail.clear();
                    }
                    push(&mut pending, &target);
                    continue;
                }
                _ => None,
            };
            trail.push((name, directory));
        }
        let names: Vec<&[u8]> = trail.iter().map(|(name, _)| name.as_slice()).collect();
        Ok(names.join(&b'/'))
    }

    fn resolve(&self, path: &[u8], follow: bool) -> Result<Option<(Vec<u8>, Node)>> {
        // The directories from the root to here, with their names.
        let mut trail: Vec<(Vec<u8>, Rc<Merged>)> = Vec::new();
        let mut pending = Vec::new();
        let mut end: Option<(Vec<u8>, Other)> = None;
        let mut links = 0;
        push(&mut pending, path);
        while let Some(name) = pending.pop() {
            if end.is_some() {
                return Ok(None);
            }
            if name == b".." {
                trail.pop();
                continue;
            }
            let here = trail.last().map_or(&self.root, |(_, directory)| directory);
            match here.child(&name)? {
                None => return Ok(None),
                Some(Node::Directory(directory)) => trail.push((name, directory)),
                Some(Node::Other(other)) => {
                    let is_link = other.stat.st_mode & libc::S_IFMT == libc::S_IFLNK;
                    if !is_link || (!follow && pending.is_empty()) {
                        end = Some((name, other));
                        continue;
                    }
                    links += 1;
                    if links > MAX_LINKS {
                        refuse!(Invalid, "too many symbolic links");
                    }
                    let target = match readlinkat(&other.parent, &*name) {
                        Ok(target) => target.into_vec(),
                        // It is gone, or something else by now.
                        Err(Errno::ENOENT | Errno::EINVAL) => {
                            pending.push(name);
                            continue;
                        }
                        Err(errno) => return Err(errno.into()),
                    };
                    if target.starts_with(b"/") {
                        trail.clear();
                    }
                    push(&mut pending, &target);
                }
            }
        }
        let mut names: Vec<&[u8]> = trail.iter().map(|(name, _)| name.as_slice()).collect();
        Ok(Some(match &end {
            Some((name, other)) => {
                names.push(name);
                (names.join(&b'/'), Node::Other(other.clone()))
            }
            None => {
                let directory = trail.last().map_or(&self.root, |(_, directory)| directory);
                (names.join(&b'/'), Node::Directory(directory.clone()))
            }
        }))
    }
}

/// The layer of a stack, the **topmost first**, that says what the root
/// directory is like, and the owner of its root.
pub fn root_layer(lowers: &[PathBuf]) -> Result<(&Path, (u32, u32))> {
    let mut first = None;
    for path in lowers {
        let stat = stat(path).with_context(|| path.display().to_string())?;
        let found = (path.as_path(), (stat.st_uid, stat.st_gid));
        if !says_nothing(&stat) {
            return Ok(found);
        }
        first.get_or_insert(found);
    }
    first.context(Kind::Invalid.says("an image without layers has no files"))
}

impl Merged {
    /// The layer that says what the directory itself is like: the topmost one
    /// that knows.
    pub fn deciding(&self) -> &LayerDir {
        let known = self.layers.iter().find(|layer| !layer.says_nothing());
        known.unwrap_or(&self.layers[0])
    }

    /// What `name` is here.
    pub fn child(&self, name: &[u8]) -> Result<Option<Node>> {
        for _ in 1..LOOKS {
            match self.look_up(name) {
                Err(e) if is_fleeting(&e) => {}
                done => return done,
            }
        }
        self.look_up(name)
    }

    /// As [`child`](Self::child), but ESTALE if a running container has put
    /// something else in the place of a directory just now.
    fn look_up(&self, name: &[u8]) -> Result<Option<Node>> {
        let mut found = Vec::new();
        for layer in &self.layers {
            let stat = match fstatat(layer, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::ENOENT) => continue,
                Err(errno) => return Err(errno).context("look up"),
            };
            if is_whiteout(&stat) {
                break;
            }
            if stat.st_mode & libc::S_IFMT != libc::S_IFDIR {
                if found.is_empty() {
                    return Ok(Some(Node::Other(Other {
                        parent: layer.clone(),
                        name: name.to_vec(),
                        stat,
                    })));
                }
                break;
            }
            let directory = LayerDir::open(layer, name, &stat).context("open directory")?;
            let opaque = xattr::get(&directory, OPAQUE)?.as_deref() == Some(b"y");
            found.push(Rc::new(directory));
            if opaque {
                break;
            }
        }
        Ok((!found.is_empty()).then(|| Node::Directory(Rc::new(Merged { layers: found }))))
    }

    /// All names here with what they are, in byte order.
    pub fn children(&self) -> Result<BTreeMap<Vec<u8>, Node>> {
        let mut names = BTreeMap::new();
        for layer in &self.layers {
            let fd = openat(layer, c".", DIRECTORY, Mode::empty()).context("open directory")?;
            let mut listing = Dir::from_fd(fd).context("list directory")?;
            for item in listing.iter() {
                let item = item.context("list directory")?;
                let name = CString::from(item.file_name()).into_bytes();
                if name == b"." || name == b".." || names.contains_key(&name) {
                    continue;
                }
                names.insert(name.clone(), self.child(&name)?);
            }
        }
        let names = names.into_iter();
        Ok(names
            .filter_map(|(name, node)| Some((name, node?)))
            .collect())
    }
}

/// How often something is looked at that is always something else when it is
/// opened.
pub const LOOKS: usize = 1000;

/// Whether another look may help: something else has the name than when it was
/// looked at, or its mode was changed while it was read.
pub fn is_fleeting(error: &anyhow::Error) -> bool {
    let errno = error.downcast_ref();
    matches!(errno, Some(Errno::ESTALE | Errno::EACCES))
}

fn push(pending: &mut Vec<Vec<u8>>, path: &[u8]) {
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    let components = path.components().rev();
    pending.extend(components.filter_map(|component| match component {
        std::path::Component::Normal(name) => Some(name.as_bytes().to_vec()),
        std::path::Component::ParentDir => Some(b"..".to_vec()),
        _ => None,
    }));
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use nix::sys::stat::{SFlag, mknodat};

    use super::*;

    fn read(view: &View, path: &str) -> Option<String> {
        let bytes = view.read(path, 100).unwrap()?;
        Some(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn layers_merge_as_overlay_merges_them() {
        let dir = tempfile::tempdir().unwrap();
        let (top, bottom) = (dir.path().join("top"), dir.path().join("bottom"));
        for path in ["etc", "opaque", "gone", "run"] {
            fs::create_dir_all(bottom.join(path)).unwrap();
            fs::write(bottom.join(path).join("file"), "bottom").unwrap();
        }
        fs::write(bottom.join("etc/low"), "bottom").unwrap();
        fs::create_dir_all(top.join("etc")).unwrap();
        fs::create_dir_all(top.join("opaque")).unwrap();
        fs::create_dir_all(top.join("var")).unwrap();
        fs::write(top.join("etc/file"), "top").unwrap();
        symlink("/run", top.join("var/run")).unwrap();
        symlink("../../../etc/low", top.join("var/up")).unwrap();
        symlink("loop", top.join("loop")).unwrap();
        let fd = File::open(top.join("opaque")).unwrap();
        xattr::set(&fd, OPAQUE, b"y").unwrap();
        let fd = File::open(&top).unwrap();
        mknodat(&fd, "gone", SFlag::S_IFCHR, Mode::empty(), 0).unwrap();

        let view = View::new(&[top, bottom]).unwrap();
        assert_eq!(read(&view, "/etc/file").as_deref(), Some("top"));
        assert_eq!(read(&view, "etc/low").as_deref(), Some("bottom"));
        assert_eq!(read(&view, "opaque/file"), None);
        assert_eq!(read(&view, "gone/file"), None);
        assert_eq!(read(&view, "var/run/file").as_deref(), Some("bottom"));
        assert_eq!(read(&view, "var/up").as_deref(), Some("bottom"));
        assert_eq!(read(&view, "etc"), None);
        assert_eq!(read(&view, "etc/file/x"), None);
        assert!(view.read("loop", 100).is_err());
        assert!(view.read("etc/low", 3).is_err());
        let (path, _) = view.locate_followed(b"var/run/file").unwrap().unwrap();
        assert_eq!(path, b"run/file");
        let root = view.root().children().unwrap();
        let names: Vec<_> = root
            .keys()
            .map(|name| String::from_utf8_lossy(name))
            .collect();
        assert_eq!(names, ["etc", "loop", "opaque", "run", "var"]);
    }
}
