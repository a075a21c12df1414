//! An error on its way from one process to another.

use super::kind::{Kind, Said};
use crate::sys;
use crate::sys::channel::MAX_MESSAGE;
use anyhow::{Error, anyhow};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::io;

/// What an error says, and what the kernel said at its root as a value, so that
/// who gets it can tell what is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// From the outermost on.
    contexts: Vec<String>,
    root: Root,
    /// The kind that it was given anywhere above the root: what was given as a
    /// context is no cause of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
}

/// The innermost cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Root {
    /// Of any other kind.
    Said(String),
    /// A [`sys::Error`].
    Call {
        call: String,
        args: String,
        errno: i32,
    },
    /// An [`Errno`].
    Errno(i32),
    /// An [`io::Error`] of the kernel's.
    Os(i32),
    /// One of a kind that is known.
    Kind(Said),
}

impl Fault {
    /// Takes an error apart.
    pub fn of(error: &Error) -> Fault {
        let mut contexts: Vec<String> = error.chain().map(ToString::to_string).collect();
        let said = contexts.pop().unwrap_or_default();
        let cause = error.root_cause();
        let os = || cause.downcast_ref::<io::Error>()?.raw_os_error();
        let root = if let Some(said) = cause.downcast_ref::<Said>() {
            Root::Kind(said.clone())
        } else if let Some(call) = cause.downcast_ref::<sys::Error>() {
            Root::Call {
                call: call.call.to_string(),
                args: call.args.clone(),
                errno: call.errno as i32,
            }
        } else if let Some(errno) = cause.downcast_ref::<Errno>() {
            Root::Errno(*errno as i32)
        } else if let Some(number) = os() {
            Root::Os(number)
        } else {
            Root::Said(said)
        };
        let kind = match root {
            Root::Kind(_) => None,
            _ => Kind::said(error),
        };
        Fault {
            contexts,
            root,
            kind,
        }
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// As a message of a [channel](crate::sys::channel::Channel); where it says too much for
    /// one, its end is cut off.
    pub fn message(&self) -> Vec<u8> {
        let whole = self.encode();
        if whole.len() <= MAX_MESSAGE {
            return whole;
        }
        // A character takes six bytes at most (RFC 8259, section 7).
        let most = MAX_MESSAGE / 8;
        let cut = |text: &str| text.chars().take(most / 2).collect::<String>();
        let root = match &self.root {
            Root::Said(text) => Root::Said(cut(text)),
            Root::Kind(said) => Root::Kind(said.kind.says(cut(&said.text))),
            Root::Call { call, args, errno } => Root::Call {
                call: call.clone(),
                args: cut(args),
                errno: *errno,
            },
            other => other.clone(),
        };
        let contexts = vec![cut(&self.contexts.join(": "))];
        let kind = self.kind;
        Fault {
            contexts,
            root,
            kind,
        }
        .encode()
    }

    /// For what builds from before there were faults read too, which know a text
    /// there: its text, a null byte, and itself; without that where it is longer
    /// than `most` bytes, and cut there.
    pub fn as_text(&self, most: usize) -> String {
        let text = format!("{:#}", Error::from(self.clone()));
        let fault = String::from_utf8(self.encode()).unwrap_or_default();
        if text.len() + 1 + fault.len() <= most {
            return text + "\0" + &fault;
        }
        text[..text.floor_char_boundary(most)].to_owned()
    }

    /// What [`as_text`](Fault::as_text) made; what is text alone is of the kind
    /// `otherwise`.
    pub fn of_text(text: &str, otherwise: Kind) -> Fault {
        let (text, fault) = text.split_once('\0').unwrap_or((text, ""));
        let read = serde_json::from_str(fault);
        read.unwrap_or_else(|_| Fault::of(&otherwise.says(text).into()))
    }

    /// The error that was told in `bytes`. What is no fault is taken for its
    /// text.
    pub fn decode(bytes: &[u8]) -> Error {
        match serde_json::from_slice::<Fault>(bytes) {
            Ok(fault) => fault.into(),
            Err(_) => anyhow!("{}", String::from_utf8_lossy(bytes)),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        let root = match fault.root {
            Root::Said(text) => anyhow!(text),
            Root::Kind(said) => anyhow!(said),
            Root::Call { call, args, errno } => {
                anyhow!(sys::Error::new(call, args, Errno::from_raw(errno)))
            }
            Root::Errno(errno) => anyhow!(Errno::from_raw(errno)),
            Root::Os(number) => anyhow!(io::Error::from_raw_os_error(number)),
        };
        let mut contexts = fault.contexts;
        let Some(kind) = fault.kind else {
            return contexts.into_iter().rev().fold(root, Error::context);
        };
        // Where it stood is not known; the outermost is found first.
        let outermost = match contexts.is_empty() {
            true => return kind.says(root.to_string()).into(),
            false => contexts.remove(0),
        };
        let inner = contexts.into_iter().rev().fold(root, Error::context);
        inner.context(kind.says(outermost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use proptest::prelude::*;

    fn told(error: &Error) -> Error {
        Fault::decode(&Fault::of(error).encode())
    }

    #[test]
    fn it_says_the_same_and_keeps_what_the_kernel_said() {
        let full = io::Error::from_raw_os_error(libc::ENOSPC);
        let error = Err::<(), _>(full).context("write x").context("layer 1");
        let error = told(&error.unwrap_err());
        assert_eq!(
            format!("{error:#}"),
            "layer 1: write x: No space left on device (os error 28)"
        );
        let io = error.root_cause().downcast_ref::<io::Error>().unwrap();
        assert_eq!(io.kind(), io::ErrorKind::StorageFull);
        assert!(error.chain().any(|e| e.is::<io::Error>()));

        let error = anyhow!(sys::Error::new("openat2", "/a/b", Errno::ELOOP)).context("mount");
        let call = told(&error);
        let call = call.downcast_ref::<sys::Error>().unwrap();
        assert_eq!((&*call.call, call.errno), ("openat2", Errno::ELOOP));

        let error = told(&anyhow!(Errno::EDQUOT).context("write y"));
        assert_eq!(error.root_cause().downcast_ref(), Some(&Errno::EDQUOT));
        assert_eq!(format!("{:#}", told(&anyhow!("no such id"))), "no such id");

        let error = told(&anyhow!(Kind::NotFound.says("no image")).context("x"));
        assert_eq!(Kind::said(&error), Some(Kind::NotFound));
    }

    #[test]
    fn a_kind_that_was_given_as_a_context_is_kept() {
        let none = None::<()>.context(Kind::NotFound.says("no x"));
        let bare = told(&none.unwrap_err());
        assert_eq!(Kind::said(&bare), Some(Kind::NotFound));
        assert_eq!(format!("{bare:#}"), "no x");

        let none = None::<()>.context(Kind::NotFound.says("no x"));
        let within = told(&none.context("look").unwrap_err());
        assert_eq!(Kind::said(&within), Some(Kind::NotFound));
        assert_eq!(format!("{within:#}"), "look: no x");

        let taken = Err::<(), _>(Errno::EPERM).context(Kind::Conflict.says("bind 80"));
        let taken = told(&taken.context("publish").unwrap_err());
        assert_eq!(Kind::said(&taken), Some(Kind::Conflict));
        assert_eq!(taken.root_cause().downcast_ref(), Some(&Errno::EPERM));
        assert!(format!("{taken:#}").starts_with("publish: bind 80: EPERM"));
    }

    #[test]
    fn it_goes_where_texts_went() {
        let full = anyhow!(sys::Error::new("write", "x", Errno::ENOSPC)).context("freeze");
        let fault = Fault::of(&full);
        let text = fault.as_text(1000);
        assert!(text.starts_with(&format!("{full:#}\0")), "{text}");
        assert_eq!(Fault::of_text(&text, Kind::Conflict), fault);
        let short = fault.as_text(100);
        assert_eq!(short, format!("{full:#}"));
        let of_text = Fault::of_text(&short, Kind::Conflict).into();
        assert_eq!(Kind::of(&of_text), Some(Kind::Conflict));
        let letters = Fault::of(&anyhow!("äöü")).as_text(3);
        assert_eq!(letters, "ä");
    }

    #[test]
    fn what_is_none_is_text() {
        let error = Fault::decode(b"killed \xff");
        assert_eq!(error.to_string(), "killed \u{fffd}");
    }

    proptest! {
        #[test]
        fn a_message_fits_and_keeps_the_number(texts in prop::collection::vec(".{0,900}", 0..4)) {
            let mut error = anyhow!(sys::Error::new("mkdirat", texts.join("/"), Errno::ENOSPC));
            for text in texts {
                error = error.context(text);
            }
            let message = Fault::of(&error).message();
            prop_assert!(message.len() <= MAX_MESSAGE);
            let error = Fault::decode(&message);
            let call = error.root_cause().downcast_ref::<sys::Error>();
            prop_assert_eq!(call.map(|call| call.errno), Some(Errno::ENOSPC));
        }
    }
}
