//! The resource limits that a command gets.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use stigmer_core::process::{CallerLimit, ResourceLimits};

/// All resources that the kernel limits (`getrlimit(2)`).
const RESOURCES: [Resource; 16] = [
    Resource::Cpu,
    Resource::Fsize,
    Resource::Data,
    Resource::Stack,
    Resource::Core,
    Resource::Rss,
    Resource::Nproc,
    Resource::Nofile,
    Resource::Memlock,
    Resource::As,
    Resource::Locks,
    Resource::Sigpending,
    Resource::Msgqueue,
    Resource::Nice,
    Resource::Rtprio,
    Resource::Rttime,
];

/// The resource that has this number here.
pub(crate) fn resource(number: u32) -> Option<Resource> {
    RESOURCES.into_iter().find(|resource| *resource as u32 == number)
}

/// What is done about one limit between fork and exec.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    resource: Resource,
    limit: Rlimit,
    /// What may not be raised so far is raised as far as it may: the caller's limits are what the
    /// caller has, while those of a request are what somebody wants.
    lowered: bool,
}

impl Limit {
    /// Sets it for this process. System calls only.
    pub(super) fn apply(&self) -> rustix::io::Result<()> {
        match setrlimit(self.resource, self.limit) {
            Err(Errno::PERM) if self.lowered => {
                let most = getrlimit(self.resource).maximum;
                let within = |wanted: Option<u64>| match (wanted, most) {
                    (Some(wanted), Some(most)) => Some(wanted.min(most)),
                    (wanted, most) => wanted.or(most),
                };
                let (current, maximum) = (within(self.limit.current), within(self.limit.maximum));
                setrlimit(self.resource, Rlimit { current, maximum })
            }
            set => set,
        }
    }
}

/// The limits of a command: those that were asked for, else the caller's, else those of the program
/// that started the supervisor, which raised its own `open_files`.
pub(super) fn limits(
    asked: &ResourceLimits,
    caller: &[CallerLimit],
    open_files: Rlimit,
) -> Vec<Limit> {
    let asked = [
        (Resource::Cpu, asked.cpu_seconds),
        (Resource::As, asked.address_space_bytes),
        (Resource::Nofile, asked.open_files),
        (Resource::Fsize, asked.file_size_bytes),
        (Resource::Nproc, asked.processes),
    ];
    let is_asked = |resource: Resource| {
        asked.iter().any(|(of, limit)| *of as u32 == resource as u32 && limit.is_some())
    };
    let mut all = vec![Limit { resource: Resource::Nofile, limit: open_files, lowered: false }];
    for CallerLimit { resource: number, soft, hard } in caller {
        if let Some(resource) = resource(*number).filter(|resource| !is_asked(*resource)) {
            let limit = Rlimit { current: *soft, maximum: *hard };
            all.push(Limit { resource, limit, lowered: true });
        }
    }
    all.extend(asked.into_iter().filter_map(|(resource, limit)| {
        let limit = Rlimit { current: Some(limit?), maximum: limit };
        Some(Limit { resource, limit, lowered: false })
    }));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        for (number, expected) in [
            (libc::RLIMIT_CPU, Resource::Cpu),
            (libc::RLIMIT_NOFILE, Resource::Nofile),
            (libc::RLIMIT_RTTIME, Resource::Rttime),
        ] {
            assert_eq!(resource(number), Some(expected));
        }
        assert_eq!(resource(16), None);
        assert_eq!(resource(u32::MAX), None);
    }

    #[test]
    fn what_is_asked_for_overrides_the_caller() {
        let asked = ResourceLimits { open_files: Some(10), ..ResourceLimits::default() };
        let number = libc::RLIMIT_NOFILE;
        let caller = [CallerLimit { resource: number, soft: Some(20), hard: None }];
        let own = Rlimit { current: Some(30), maximum: Some(30) };
        let all = limits(&asked, &caller, own);
        assert_eq!(all.len(), 2, "{all:?}");
        assert_eq!(all[1].limit.current, Some(10));
    }
}
