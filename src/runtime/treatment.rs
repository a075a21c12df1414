//! How the kernel is to treat a process: what it gets of processors, disks and
//! memory, and which kind of system it sees. Read without a system call, applied
//! before ids and capabilities go.

use super::fields::Unsupported;
use crate::error::refuse;
use crate::sys::scheduling::{self, Scheduling};
use anyhow::{Context, Result};
use oci_spec::runtime::{
    ExecCPUAffinity, IOPriorityClass, Linux, LinuxIOPriority, LinuxMemoryPolicy, LinuxPersonality,
    LinuxPersonalityDomain, LinuxSchedulerFlag, LinuxSchedulerPolicy, MemoryPolicyFlagType,
    MemoryPolicyModeType, Process, Scheduler,
};

/// What is asked for; what is not is as who starts the process has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Treatment {
    scheduling: Option<Scheduling>,
    io_priority: Option<u32>,
    memory: Option<(u32, Vec<u64>)>,
    personality: Option<u32>,
    /// Of a further process, before and after it is in the container's group.
    affinity: [Option<Vec<u64>>; 2],
}

impl Treatment {
    /// What a process asks for itself.
    ///
    /// # Errors
    /// A value that is none.
    pub(super) fn of(process: &Process) -> Result<Treatment> {
        let scheduler = process.scheduler().as_ref().map(of_scheduler);
        let io_priority = process.io_priority().as_ref().map(of_io_priority);
        let affinity = process.exec_cpu_affinity().as_ref().map(of_affinity);
        Ok(Treatment {
            scheduling: scheduler.transpose().context("process.scheduler")?,
            io_priority: io_priority.transpose().context("process.ioPriority")?,
            affinity: affinity
                .transpose()
                .context("process.execCPUAffinity")?
                .unwrap_or_default(),
            ..Treatment::default()
        })
    }

    /// With what is for all processes of a container.
    ///
    /// # Errors
    /// A value that is none.
    pub fn within(self, linux: &Linux) -> Result<Treatment> {
        let memory = linux.memory_policy().as_ref().map(of_memory);
        let personality = linux.personality().as_ref().map(of_personality);
        Ok(Treatment {
            memory: memory.transpose().context("linux.memoryPolicy")?,
            personality: personality.transpose()?,
            ..self
        })
    }

    /// Has the calling thread treated so.
    ///
    /// # Errors
    /// What the kernel does not let it have.
    pub(super) fn apply(&self) -> Result<()> {
        if let Some(scheduler) = &self.scheduling {
            scheduling::set_scheduling(scheduler).context("process.scheduler")?;
        }
        if let Some(priority) = self.io_priority {
            scheduling::set_io_priority(priority).context("process.ioPriority")?;
        }
        if let Some((mode, nodes)) = &self.memory {
            scheduling::set_memory_policy(*mode, nodes).context("linux.memoryPolicy")?;
        }
        if let Some(domain) = self.personality {
            scheduling::set_personality(domain).context("linux.personality")?;
        }
        Ok(())
    }

    /// Puts the calling thread on the processors of a further process: before it is
    /// in the container's control group, and `after`.
    ///
    /// # Errors
    /// None of them is there.
    pub(super) fn settle(&self, after: bool) -> Result<()> {
        match &self.affinity[usize::from(after)] {
            Some(processors) => {
                scheduling::set_affinity(processors).context("process.execCPUAffinity")
            }
            None => Ok(()),
        }
    }
}

fn of_scheduler(asked: &Scheduler) -> Result<Scheduling> {
    // Linux's numbers; sched(7) keeps 4 for SCHED_ISO.
    let policy = match asked.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let flags = asked.flags().iter().flatten().map(|flag| match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x1,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x2,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x4,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x8,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    });
    let priority = asked.priority().unwrap_or(0);
    Ok(Scheduling {
        size: 0,
        policy,
        flags: flags.fold(0, |all, flag| all | flag),
        nice: asked.nice().unwrap_or(0),
        priority: u32::try_from(priority).with_context(|| format!("priority {priority}"))?,
        runtime: asked.runtime().unwrap_or(0),
        deadline: asked.deadline().unwrap_or(0),
        period: asked.period().unwrap_or(0),
    })
}

/// Class and level as ioprio_set(2) has them.
fn of_io_priority(asked: &LinuxIOPriority) -> Result<u32> {
    let class = match asked.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match u32::try_from(asked.priority()) {
        Ok(level @ 0..=7) => Ok(class << 13 | level),
        _ => refuse!(Invalid, "priority {}: 0 to 7", asked.priority()),
    }
}

fn of_affinity(asked: &ExecCPUAffinity) -> Result<[Option<Vec<u64>>; 2]> {
    let read = |list: &Option<String>| {
        let list = list.as_deref().filter(|list| !list.is_empty());
        list.map(bits).transpose()
    };
    Ok([read(asked.initial())?, read(asked.cpu_affinity_final())?])
}

fn of_memory(asked: &LinuxMemoryPolicy) -> Result<(u32, Vec<u64>)> {
    let mode = match asked.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    };
    let flags = asked.flags().iter().flatten().map(|flag| match flag {
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
    });
    let nodes = asked.nodes().as_deref().unwrap_or_default();
    let nodes = match nodes.is_empty() {
        true => Vec::new(),
        false => bits(nodes)?,
    };
    Ok((flags.fold(mode, |all, flag| all | flag), nodes))
}

fn of_personality(asked: &LinuxPersonality) -> Result<u32> {
    if asked.flags().as_ref().is_some_and(|all| !all.is_empty()) {
        let why = "the specification has no flags yet";
        return Err(Unsupported::new("linux.personality.flags", why).into());
    }
    Ok(match asked.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    })
}

/// More processors and nodes than this no kernel has.
const MOST: usize = 8192;

/// A list of numbers and ranges (`0-3,7`) as a bit for each.
fn bits(list: &str) -> Result<Vec<u64>> {
    let mut bits = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().ok();
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last && last < MOST => {
                bits.resize(bits.len().max(last / 64 + 1), 0);
                for number in first..=last {
                    bits[number / 64] |= 1 << (number % 64);
                }
            }
            _ => refuse!(
                Invalid,
                "'{list}': numbers and ranges below {MOST} are wanted, as in 0-3,7"
            ),
        }
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn process(extra: Value) -> Result<Treatment> {
        let mut json = json!({"user": {"uid": 0, "gid": 0}, "args": ["sh"], "cwd": "/"});
        let extra = extra.as_object().unwrap().clone();
        json.as_object_mut().unwrap().extend(extra);
        Treatment::of(&serde_json::from_value(json)?)
    }

    #[test]
    fn lists_of_numbers() {
        assert_eq!(bits("0-3,7").unwrap(), [0x8f]);
        assert_eq!(bits("65").unwrap(), [0, 2]);
        assert_eq!(bits(" 1 , 63-64").unwrap(), [1 << 63 | 2, 1]);
        for none in ["", "a", "3-1", "-1", "1,", "0-8192", "99999999999999999999"] {
            assert!(bits(none).is_err(), "{none}");
        }
    }

    #[test]
    fn what_a_process_asks_for() {
        let asked = process(json!({
            "scheduler": {"policy": "SCHED_FIFO", "priority": 3, "flags": ["SCHED_RESET_ON_FORK"]},
            "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 1},
            "execCPUAffinity": {"final": "1"},
        }))
        .unwrap();
        let scheduling = asked.scheduling.unwrap();
        assert_eq!(
            (scheduling.policy, scheduling.priority, scheduling.flags),
            (1, 3, 1)
        );
        assert_eq!(asked.io_priority, Some(3 << 13 | 1));
        assert_eq!(asked.affinity, [None, Some(vec![2])]);
        assert_eq!(process(json!({})).unwrap(), Treatment::default());
        for none in [
            json!({"scheduler": {"policy": "SCHED_FIFO", "priority": -1}}),
            json!({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}),
        ] {
            assert!(process(none.clone()).is_err(), "{none}");
        }
    }

    #[test]
    fn what_a_container_asks_for() {
        let within = |linux: Value| {
            let linux: Linux = serde_json::from_value(linux).unwrap();
            Treatment::default().within(&linux)
        };
        let asked = within(json!({
            "personality": {"domain": "LINUX32"},
            "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0,2",
                "flags": ["MPOL_F_STATIC_NODES"]},
        }))
        .unwrap();
        assert_eq!(asked.personality, Some(8));
        assert_eq!(asked.memory, Some((2 | 1 << 15, vec![5])));
        let local = within(json!({"memoryPolicy": {"mode": "MPOL_LOCAL"}})).unwrap();
        assert_eq!(local.memory, Some((4, vec![])));
        for none in [
            json!({"personality": {"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}}),
            json!({"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "a"}}),
        ] {
            assert!(within(none.clone()).is_err(), "{none}");
        }
    }
}
