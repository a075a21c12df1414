use super::*;
use crate::engine::create::root::{ImageDefaults, Root};

fn image(volumes: &[&str]) -> Resolved {
    Resolved {
        root: Root::default(),
        defaults: ImageDefaults {
            volumes: volumes.iter().map(|path| (*path).to_owned()).collect(),
            ..ImageDefaults::default()
        },
        image: None,
    }
}

fn places(options: &RunOptions, image: &Resolved) -> Result<Vec<(String, &'static str)>> {
    let store = tempfile::tempdir().unwrap();
    let containers = Containers::open(&Store::open(store.path()).unwrap());
    let all = wanted(&containers, options, image)?;
    let kind = |option: &MountOption| match option {
        MountOption::Bind { .. } => "bind",
        MountOption::Volume { name: Some(_), .. } => "volume",
        MountOption::Volume { name: None, .. } => "anonymous",
        MountOption::Tmpfs { .. } => "tmpfs",
        MountOption::Layers { .. } => "layers",
        MountOption::Image { .. } => "image",
    };
    let all = all.iter();
    let all = all.map(|option| (option.destination().display().to_string(), kind(option)));
    Ok(all.collect())
}

fn asking(mounts: &[&str], image_volumes: ImageVolumes) -> RunOptions {
    RunOptions {
        mounts: mounts
            .iter()
            .map(|text| mounts::parse_volume(text).unwrap())
            .collect(),
        image_volumes,
        ..RunOptions::default()
    }
}

#[test]
fn what_was_asked_for_goes_before_the_images_volumes() {
    let image = image(&["/data", "relative/x", "/data/", "/", "/more"]);
    let of = |place: &str, kind| (place.to_owned(), kind);
    let options = asking(&["named:/data"], ImageVolumes::Anonymous);
    let wanted = [
        of("/data", "volume"),
        of("/relative/x", "anonymous"),
        of("/more", "anonymous"),
    ];
    assert_eq!(places(&options, &image).unwrap(), wanted);
    let options = asking(&["/etc:/more"], ImageVolumes::Tmpfs);
    let all = places(&options, &image).unwrap();
    assert_eq!(all[0], of("/more", "bind"));
    assert!(all.contains(&of("/data", "tmpfs")), "{all:?}");
    let options = asking(&[], ImageVolumes::Ignore);
    assert_eq!(places(&options, &image).unwrap(), []);
}

#[test]
fn two_mounts_at_one_place_are_an_error_and_one_that_hides_all() {
    for (mounts, said) in [
        (&["a:/data", "b:/data/."][..], "two mounts on /data"),
        (&["a:/"], "a mount on / would hide the image"),
    ] {
        let options = asking(mounts, ImageVolumes::Ignore);
        let error = places(&options, &image(&[])).unwrap_err();
        assert_eq!(error.to_string(), said);
    }
    let options = RunOptions {
        volumes_from: vec![mounts::parse_volumes_from("nobody:ro").unwrap()],
        ..RunOptions::default()
    };
    let error = places(&options, &image(&[])).unwrap_err();
    assert!(
        error.to_string().contains("--volumes-from nobody:ro"),
        "{error}"
    );
}
