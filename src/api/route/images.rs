//! What is asked of images, whose names have slashes.

/// Something with images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Images {
    /// `GET /images/json`
    List,
    /// `GET /images/search`
    Search,
    /// `GET /images/get`: several as an archive.
    Save,
    /// `POST /images/create`: pulled, or made of a tar.
    Create,
    /// `POST /images/load`
    Load,
    /// `POST /images/prune`
    Prune,
    /// `GET /distribution/NAME/json`
    Distribution(String),
    /// `POST /auth`
    Auth,
    /// Something of the image with this name, id or digest.
    Image(String, OfImage),
}

/// What of an image, or with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfImage {
    /// `GET …/json`
    Inspect,
    /// `GET …/history`
    History,
    /// `GET …/get`
    Save,
    /// `POST …/tag`
    Tag,
    /// `POST …/push`
    Push,
    /// `DELETE …`
    Remove,
}

/// What the words of a path ask for, and by which method; nothing if it is not
/// about images.
pub(super) fn find(method: &str, words: &[&str]) -> Option<(&'static str, Images)> {
    Some(match *words {
        ["auth"] => ("POST", Images::Auth),
        ["distribution", ref name @ .., "json"] if !name.is_empty() => {
            ("GET", Images::Distribution(name.join("/")))
        }
        ["images", ref name @ ..] if method == "DELETE" && !name.is_empty() => {
            ("DELETE", Images::Image(name.join("/"), OfImage::Remove))
        }
        ["images", "json"] => ("GET", Images::List),
        ["images", "search"] => ("GET", Images::Search),
        ["images", "get"] => ("GET", Images::Save),
        ["images", "create"] => ("POST", Images::Create),
        ["images", "load"] => ("POST", Images::Load),
        ["images", "prune"] => ("POST", Images::Prune),
        ["images", ref name @ .., verb] if !name.is_empty() => {
            let (method, of) = match verb {
                "json" => ("GET", OfImage::Inspect),
                "history" => ("GET", OfImage::History),
                "get" => ("GET", OfImage::Save),
                "tag" => ("POST", OfImage::Tag),
                "push" => ("POST", OfImage::Push),
                _ => return None,
            };
            (method, Images::Image(name.join("/"), of))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::route::{Astray, Route, find};

    #[test]
    fn names_of_images_have_slashes() {
        let route = |method, target: &str| find(method, target).map(|asked| asked.route);
        let image = |name: &str, of| Ok(Route::Images(Images::Image(name.to_owned(), of)));
        for (method, target, wanted) in [
            ("GET", "/v1.44/images/json", Ok(Route::Images(Images::List))),
            (
                "GET",
                "/images/r.test:5000/a/b:1/json",
                image("r.test:5000/a/b:1", OfImage::Inspect),
            ),
            (
                "GET",
                "/images/r.test%2Fa/history",
                image("r.test/a", OfImage::History),
            ),
            ("GET", "/images/json/json", image("json", OfImage::Inspect)),
            (
                "POST",
                "/images/create/push",
                image("create", OfImage::Push),
            ),
            ("DELETE", "/images/a/json", image("a/json", OfImage::Remove)),
            (
                "GET",
                "/distribution/a/b/json",
                Ok(Route::Images(Images::Distribution("a/b".to_owned()))),
            ),
            ("POST", "/auth", Ok(Route::Images(Images::Auth))),
            ("GET", "/images/create", Err(Astray::NotFound)),
            ("POST", "/images/a/json", Err(Astray::NotFound)),
            ("GET", "/images/a", Err(Astray::NotFound)),
            ("DELETE", "/images", Err(Astray::NotFound)),
            ("GET", "/distribution/json", Err(Astray::NotFound)),
        ] {
            assert_eq!(route(method, target), wanted, "{method} {target}");
        }
    }
}
