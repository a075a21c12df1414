//! Manifests, indexes and configurations of images, and what is said about
//! them on the command line.

#![no_main]

use bryo::image::budget::Budget;
use bryo::image::change::Change;
use bryo::image::index::{check_platform, choose};
use bryo::image::platform::Platform;
use bryo::image::registry::manifest;
use bryo::image::store;
use libfuzzer_sys::fuzz_target;
use oci_spec::image::{ImageConfiguration, ImageIndex, ImageManifest};

fuzz_target!(|bytes: &[u8]| {
    let (kind, bytes) = match bytes.split_first() {
        Some((kind, rest)) => (*kind, rest),
        None => return,
    };
    let text = String::from_utf8_lossy(bytes);
    match kind % 4 {
        0 => {
            let _ = manifest::read(bytes, None);
            if let Ok(index) = serde_json::from_slice::<ImageIndex>(bytes) {
                let _ = choose(index.manifests(), None);
            }
        }
        1 => {
            if let Ok(config) = serde_json::from_slice::<ImageConfiguration>(bytes) {
                let _ = Budget::default().check_configuration(&config);
                let _ = check_platform(&config, None);
            }
        }
        2 => {
            // One document after the other.
            if let Some((manifest, config)) = text.split_once('\n')
                && let Ok(manifest) = serde_json::from_str::<ImageManifest>(manifest)
                && let Ok(config) = serde_json::from_str::<ImageConfiguration>(config)
            {
                let _ = store::layers(&manifest, &config);
            }
        }
        _ => {
            if let Ok(platform) = text.parse::<Platform>() {
                assert_eq!(platform.to_string().parse::<Platform>().unwrap(), platform);
            }
            let _ = text.parse::<Change>();
        }
    }
});
