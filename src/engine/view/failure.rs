//! Of what kind a failure is, whichever part of bryo it comes from: all that an
//! exit code or a status is made of.

use crate::engine::create::limits::Unlimited;
use crate::engine::ground::paths::Unsafe;
use crate::engine::ids::keeper::Nobody;
use crate::error::Kind;
use crate::idmap::grant::Refusal;
use crate::image::registry::failure::Failure;
use crate::runtime::fields::Unsupported;
use crate::runtime::{StartError, Step};
use anyhow::Error;

/// The kind of an error: what was said where it arose, what its type means, or
/// what the kernel's number does. What nobody has thought of is
/// [`Internal`](Kind::Internal).
pub fn kind(error: &Error) -> Kind {
    Kind::said(error)
        .or_else(|| error.chain().find_map(of_type))
        .or_else(|| Kind::of(error))
        .unwrap_or(Kind::Internal)
}

fn of_type(cause: &(dyn std::error::Error + 'static)) -> Option<Kind> {
    let start = cause.downcast_ref().map(StartError::kind);
    let registry = || cause.downcast_ref().map(Failure::kind);
    let other = || match () {
        () if cause.is::<Unlimited>() => Some(Kind::Unsupported),
        () if cause.is::<Unsupported>() => Some(Kind::Unsupported),
        () if cause.is::<Nobody>() => Some(Kind::Unsupported),
        () if cause.is::<Unsafe>() => Some(Kind::Forbidden),
        () if cause.is::<Refusal>() => Some(Kind::Forbidden),
        () => None,
    };
    start.or_else(registry).or_else(other)
}

/// Whether it is the container's command that failed, and not bryo: it is not
/// there ([`NotFound`](Kind::NotFound)), or cannot be executed.
pub fn is_of_command(error: &Error) -> bool {
    let start = error.chain().find_map(|cause| cause.downcast_ref());
    start.is_some_and(|start: &StartError| start.step == Step::Execute && start.errno.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::registry::failure::Status;
    use anyhow::{Context, anyhow};
    use nix::errno::Errno;

    fn start(step: Step, errno: Option<Errno>) -> Error {
        let text = "x".to_owned();
        let said = None;
        anyhow!(StartError {
            step,
            errno,
            said,
            text
        })
        .context("container c")
    }

    fn refused(step: Step) -> Error {
        let why = anyhow!(Kind::Invalid.says("root: missing"));
        anyhow!(StartError::new(step, &why)).context("container c")
    }

    fn answer(code: u16) -> Error {
        anyhow!(Failure::Status(Status {
            code,
            text: String::new(),
            retry_after: None,
            challenges: Vec::new(),
        }))
        .context("pull x")
    }

    #[test]
    fn all_types_of_errors_have_a_kind() {
        for (error, wanted) in [
            (start(Step::Execute, Some(Errno::ENOENT)), Kind::NotFound),
            (start(Step::Execute, Some(Errno::ENOTDIR)), Kind::NotFound),
            (start(Step::Execute, Some(Errno::EACCES)), Kind::Forbidden),
            (start(Step::Execute, Some(Errno::ENOEXEC)), Kind::Invalid),
            (start(Step::Store, Some(Errno::ENOSPC)), Kind::NoSpace),
            (start(Step::Unsupported, None), Kind::Unsupported),
            (start(Step::Mount, Some(Errno::ENOENT)), Kind::NotFound),
            (start(Step::Supervise, None), Kind::Internal),
            (refused(Step::Plan), Kind::Invalid),
            (answer(401), Kind::Forbidden),
            (answer(404), Kind::NotFound),
            (answer(429), Kind::Unavailable),
            (answer(503), Kind::Unavailable),
            (anyhow!(Failure::Broken("x".into())), Kind::Unavailable),
            (anyhow!(Failure::Untrusted("x".into())), Kind::Forbidden),
            (anyhow!(Nobody).context("--userns range"), Kind::Unsupported),
            (anyhow!(Errno::EDQUOT).context("write"), Kind::NoSpace),
            (anyhow!("a slip"), Kind::Internal),
        ] {
            assert_eq!(kind(&error), wanted, "{error:#}");
        }
        let said = start(Step::Mount, Some(Errno::EPERM)).context(Kind::Conflict.says("in use"));
        assert_eq!(kind(&said), Kind::Conflict);
        let none = None::<()>.context(Kind::NotFound.says("no x"));
        assert_eq!(kind(&none.unwrap_err()), Kind::NotFound);
    }

    #[test]
    fn a_command_fails_where_it_is_executed() {
        assert!(is_of_command(&start(Step::Execute, Some(Errno::EACCES))));
        assert!(!is_of_command(&start(Step::Mount, Some(Errno::EACCES))));
        assert!(!is_of_command(&anyhow!(Errno::ENOENT)));
    }
}
