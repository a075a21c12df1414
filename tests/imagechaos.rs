//! Many at once, and `kill -9` of any of them: the store stays sound.

use crate::common::hostile::{Pushed, gzip, noise, tar_of};
use crate::common::registry::Registry;
use crate::common::{Running, Sandbox, busybox_tar};
use bryo::image::digest::sha256;
use nix::sys::signal::Signal;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

/// Images in a registry that share layers: each has the base, a layer of its
/// own and one that the next has too.
fn overlapping(sandbox: &Sandbox, registry: &Registry, count: u32) -> Vec<String> {
    let layer = |tar: Vec<u8>| (gzip(&tar), sha256(&tar));
    let file = |seed: u32| layer(tar_of(&format!("file{seed}"), &noise(seed, 300_000)));
    let base = layer(fs::read(busybox_tar()).unwrap());
    let images = (0..count).map(|n| {
        let layers = [
            base.clone(),
            file(n),
            file(100 + n),
            file(100 + (n + 1) % count),
        ];
        let directory = sandbox.work().join(format!("layout{n}"));
        Pushed::of(layers.to_vec()).write_layout(&directory);
        let name = registry.name(&format!("chaos/{n}:1"));
        let from = format!("oci:{}", directory.display());
        let to = format!("docker://{name}");
        sandbox.bryo(["copy", "-q", &from, &to]).output().expect(0);
        name
    });
    images.collect()
}

fn sound(sandbox: &Sandbox, what: &str) {
    let check = sandbox.bryo(["check", "-q"]).output();
    assert!(check.code == 0, "{what}: {check}");
    assert_eq!(check.stdout, "The store is sound.\n", "{what}");
}

/// Numbers that look random, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % sides
    }
}

#[test]
fn two_hundred_pull_run_and_remove_at_once() {
    let origin = Sandbox::new();
    let registry = Registry::start(&origin);
    let names = overlapping(&origin, &registry, 5);
    let sandbox = Sandbox::new();
    let mut dice = Dice(1);
    let all: Vec<(String, Running)> = (0..200)
        .map(|_| {
            let name = names[dice.roll(names.len())].as_str();
            let run = match dice.roll(4) {
                0 => sandbox.bryo(["pull", "-q", name]),
                1 => sandbox.bryo(["rmi", "-f", name]),
                2 if dice.roll(4) == 0 => sandbox.bryo(["image", "prune", "-af"]),
                _ => {
                    let run = sandbox.bryo(["run", "--rm", "--network", "none", name]);
                    run.args(["sh", "-c", "cat /file* | wc -c"])
                }
            };
            (name.to_owned(), run.spawn())
        })
        .collect();
    let mut ran = 0;
    for (name, running) in all {
        let output = running.wait_within(Duration::from_secs(300));
        ran += usize::from(output.stdout == "900000\n");
        let fine = match output.code {
            0 => true,
            // One removed what another was about to use.
            1 | 125 => ["No such image", "meanwhile", "as fast as"]
                .iter()
                .any(|why| output.stderr.contains(why)),
            _ => false,
        };
        assert!(fine, "{name}: {output}");
    }
    assert!(ran > 20, "{ran} ran");
    sound(&sandbox, "after all");
    for name in &names {
        let run = sandbox.run(&["--network", "none", name, "true"]);
        run.expect(0);
    }
    let parts = fs::read_dir(sandbox.root().join("parts")).unwrap().count();
    assert_eq!(parts, 0);
    sound(&sandbox, "in the end");
}

#[test]
fn killed_at_any_time_the_store_is_sound() {
    let origin = Sandbox::new();
    let registry = Registry::start(&origin);
    let names = overlapping(&origin, &registry, 2);
    origin.bryo(["pull", "-q"]).args(&names).output().expect(0);
    let archive = origin.work().join("image.tar");
    let save = origin.bryo(["save", "-q", "-o"]).arg(&archive);
    save.args(&names).output().expect(0);
    let sandbox = Sandbox::new();
    let mut dice = Dice(2);
    for round in 0..60 {
        let name = &names[dice.roll(names.len())];
        let (what, run) = match dice.roll(5) {
            0 | 1 => ("pull", sandbox.bryo(["pull", "-q", name])),
            2 => ("load", sandbox.bryo(["load", "-q", "-i"]).arg(&archive)),
            3 => ("prune", sandbox.bryo(["image", "prune", "-af"])),
            _ => ("rmi", sandbox.bryo(["rmi", "-f", name])),
        };
        let running = run.spawn();
        sleep(Duration::from_millis(dice.roll(250) as u64));
        running.signal(Signal::SIGKILL);
        running.wait();
        sound(&sandbox, &format!("round {round}, {what}"));
    }
    for name in &names {
        sandbox.run(&["--network", "none", name, "true"]).expect(0);
    }
    sandbox
        .bryo(["load", "-q", "-i"])
        .arg(&archive)
        .output()
        .expect(0);
    sandbox.bryo(["image", "prune", "-af"]).output().expect(0);
    sound(&sandbox, "in the end");
    assert_eq!(sandbox.bryo(["images", "-q"]).stdout(), "");
}
