//! What has to be done so that what there is becomes what is wanted. Pure.

use super::service::Service;
use std::collections::{BTreeMap, BTreeSet};

/// A container that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Of which service.
    pub service: String,
    /// Which of the service's.
    pub number: usize,
    /// What it was made of.
    pub hash: String,
    /// The image's id.
    pub image: String,
    /// Whether it runs.
    pub is_active: bool,
}

/// When containers are made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recreate {
    /// If what they are made of has changed.
    Changed,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What is wanted of a service.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// The service.
    pub service: &'a Service,
    /// How many containers.
    pub scale: usize,
    /// The image's id.
    pub image: &'a str,
    /// When they are made anew.
    pub recreate: Recreate,
}

/// What becomes of a service's containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// They run, and go on.
    pub leave: Vec<Existing>,
    /// They are as they should be, and are started.
    pub start: Vec<Existing>,
    /// They go on, but something that they depend on does not: they are stopped and started.
    pub restart: Vec<Existing>,
    /// Others take their place.
    pub replace: Vec<Existing>,
    /// The numbers of those that are made beside them.
    pub create: Vec<usize>,
    /// There are too many.
    pub remove: Vec<Existing>,
}

impl Change {
    /// The numbers of all that are made.
    pub fn made(&self) -> Vec<usize> {
        let replaced = self.replace.iter().map(|old| old.number);
        replaced.chain(self.create.iter().copied()).collect()
    }
}

/// The services, each behind those that it depends on or shares something with.
pub fn order(services: &BTreeMap<String, Service>) -> Vec<&str> {
    let mut done: Vec<&str> = Vec::new();
    let mut left: BTreeSet<&str> = services.keys().map(String::as_str).collect();
    while !left.is_empty() {
        let is_ready = |name: &&str| before(&services[*name]).all(|other| !left.contains(other));
        let mut ready: Vec<&str> = left.iter().copied().filter(|name| is_ready(name)).collect();
        if ready.is_empty() {
            // Circles were refused when the files were read.
            ready = left.iter().copied().collect();
        }
        left.retain(|name| !ready.contains(name));
        done.extend(ready);
    }
    done
}

/// The services that come before one.
pub fn before(service: &Service) -> impl Iterator<Item = &str> {
    let depended = service
        .dependencies
        .iter()
        .map(|other| other.service.as_str());
    depended.chain(service.shares_with.iter().map(String::as_str))
}

/// What becomes of the containers of each service.
pub fn plan(
    wanted: &BTreeMap<&str, Wanted>,
    order: &[&str],
    existing: &[Existing],
) -> BTreeMap<String, Change> {
    let mut changes: BTreeMap<String, Change> = BTreeMap::new();
    for name in order {
        let Some(own) = wanted.get(name) else {
            continue;
        };
        let is_made = |other: &str| {
            changes
                .get(other)
                .is_some_and(|change| !change.replace.is_empty())
        };
        let follows = own.service.shares_with.iter().any(|other| is_made(other));
        let restarts = own.service.dependencies.iter();
        let restarts = restarts
            .filter(|other| other.restart)
            .any(|other| is_made(&other.service));
        let mut change = Change::default();
        let is_stale = |container: &Existing| match own.recreate {
            Recreate::Always => true,
            Recreate::Never => false,
            Recreate::Changed => {
                container.hash != own.service.hash || container.image != own.image || follows
            }
        };
        let mut all: Vec<&Existing> = existing.iter().filter(|c| c.service == *name).collect();
        // Of too many those go first that are not as they should be, then the youngest.
        all.sort_by_key(|container| (is_stale(container), container.number));
        for (at, container) in all.iter().enumerate() {
            let list = if at >= own.scale {
                &mut change.remove
            } else if is_stale(container) {
                &mut change.replace
            } else if !container.is_active {
                &mut change.start
            } else if restarts {
                &mut change.restart
            } else {
                &mut change.leave
            };
            list.push((*container).clone());
        }
        let mut taken: BTreeSet<usize> = all.iter().take(own.scale).map(|c| c.number).collect();
        for _ in all.len()..own.scale {
            let number = (1..).find(|number| !taken.contains(number)).unwrap_or(1);
            taken.insert(number);
            change.create.push(number);
        }
        changes.insert((*name).to_owned(), change);
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::service::{Condition, Dependency, Pull};
    use crate::engine::create::options::RunOptions;

    fn service(name: &str, on: &[&str]) -> Service {
        let dependency = |other: &&str| Dependency {
            service: (*other).to_owned(),
            condition: Condition::Started,
            restart: false,
            required: true,
        };
        Service {
            name: name.to_owned(),
            image: "i".into(),
            is_built: false,
            options: RunOptions::default(),
            platform: None,
            scale: 1,
            container_name: None,
            hash: "h".into(),
            dependencies: on.iter().map(dependency).collect(),
            shares_with: Vec::new(),
            pull: Pull::Missing,
            directories: Vec::new(),
            files: Vec::new(),
            attach: true,
        }
    }

    fn existing(service: &str, number: usize, hash: &str, is_active: bool) -> Existing {
        Existing {
            id: format!("{service}{number}"),
            name: format!("p-{service}-{number}"),
            service: service.to_owned(),
            number,
            hash: hash.to_owned(),
            image: "id".into(),
            is_active,
        }
    }

    /// The changes, as the numbers of the containers in each list.
    fn planned(
        services: &[Service],
        scale: usize,
        recreate: Recreate,
        there: &[Existing],
    ) -> Vec<[Vec<usize>; 6]> {
        let services: BTreeMap<String, Service> = services
            .iter()
            .map(|s| (s.name.clone(), s.clone()))
            .collect();
        let wanted = services.values().map(|service| {
            let wanted = Wanted {
                service,
                scale,
                image: "id",
                recreate,
            };
            (service.name.as_str(), wanted)
        });
        let changes = plan(&wanted.collect(), &order(&services), there);
        let numbers = |list: &[Existing]| list.iter().map(|c| c.number).collect::<Vec<_>>();
        let lists = changes.into_values().map(|change| {
            let Change {
                leave,
                start,
                restart,
                replace,
                create,
                remove,
            } = &change;
            [
                numbers(leave),
                numbers(start),
                numbers(restart),
                numbers(replace),
                create.clone(),
                numbers(remove),
            ]
        });
        lists.collect()
    }

    #[test]
    fn services_come_behind_what_they_depend_on() {
        let all = [
            service("a", &["b", "c"]),
            service("b", &["c"]),
            service("c", &[]),
            service("d", &[]),
        ];
        let all: BTreeMap<String, Service> = all.into_iter().map(|s| (s.name.clone(), s)).collect();
        assert_eq!(order(&all), ["c", "d", "b", "a"]);
    }

    #[test]
    fn what_is_as_it_should_be_stays() {
        let one = [service("a", &[])];
        let there = [
            existing("a", 1, "h", true),
            existing("a", 2, "h", false),
            existing("a", 3, "old", true),
        ];
        let plan = |scale, recreate| planned(&one, scale, recreate, &there).remove(0);
        assert_eq!(
            plan(3, Recreate::Changed),
            [vec![1], vec![2], vec![], vec![3], vec![], vec![]]
        );
        assert_eq!(
            plan(3, Recreate::Never),
            [vec![1, 3], vec![2], vec![], vec![], vec![], vec![]]
        );
        assert_eq!(
            plan(2, Recreate::Always),
            [vec![], vec![], vec![], vec![1, 2], vec![], vec![3]]
        );
        // The stale one goes, though it runs and another does not.
        assert_eq!(
            plan(2, Recreate::Changed),
            [vec![1], vec![2], vec![], vec![], vec![], vec![3]]
        );
        assert_eq!(
            plan(5, Recreate::Changed),
            [vec![1], vec![2], vec![], vec![3], vec![4, 5], vec![]]
        );
        assert_eq!(plan(0, Recreate::Changed)[5], [1, 2, 3]);
    }

    #[test]
    fn what_shares_with_something_new_is_made_anew_too() {
        let mut services = [
            service("a", &["b"]),
            service("b", &[]),
            service("c", &["b"]),
        ];
        services[0].shares_with.push("b".into());
        services[2].dependencies[0].restart = true;
        let there = [
            existing("a", 1, "h", true),
            existing("b", 1, "old", true),
            existing("c", 1, "h", true),
        ];
        let plan = planned(&services, 1, Recreate::Changed, &there);
        assert_eq!(plan[0][3], [1]);
        assert_eq!(plan[1][3], [1]);
        assert_eq!(plan[2][2], [1]);
        let plan = planned(
            &services,
            1,
            Recreate::Changed,
            &[
                there[0].clone(),
                existing("b", 1, "h", true),
                there[2].clone(),
            ],
        );
        assert!(plan.iter().all(|lists| lists[0] == [1]));
    }
}
