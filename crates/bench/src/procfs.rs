//! What Linux tells about processes: CPU time from the scheduler's own accounting, memory as proportional set size.
//! A process stands for its descendants too, since some servers have workers.

use std::collections::HashMap;
use std::fs;
use std::io;

/// What the scheduler gave, by thread.
pub(crate) type Cpu = HashMap<(u32, u32), Share>;

/// Nanoseconds of a core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) ran: u64,
    /// Ready to run while something else ran.
    pub(crate) waited: u64,
}

/// These processes and all that descend from them.
pub(crate) fn family(pids: &[u32]) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let stat = pid.and_then(|pid: u32| fs::read_to_string(format!("/proc/{pid}/stat")).ok());
        if let (Some(pid), Some(parent)) = (pid, stat.as_deref().and_then(parse_parent)) {
            parents.push((pid, parent));
        }
    }
    let mut family = pids.to_vec();
    let mut next = 0;
    while next < family.len() {
        let of = family[next];
        family.extend(parents.iter().filter(|&&(pid, parent)| parent == of && pid != of).map(|&(pid, _)| pid));
        next += 1;
    }
    family.sort_unstable();
    family.dedup();
    family
}

/// CPU time of every thread of these processes.
pub(crate) fn cpu(pids: &[u32]) -> Cpu {
    let mut cpu = Cpu::new();
    for &pid in pids {
        for entry in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let Some(task) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let text = fs::read_to_string(entry.path().join("schedstat")).unwrap_or_default();
            cpu.insert((pid, task), parse_schedstat(&text).unwrap_or_default());
        }
    }
    cpu
}

/// CPU time between two readings; a thread that is new in the second counts whole.
pub(crate) fn cpu_between(before: &Cpu, after: &Cpu) -> Share {
    let mut sum = Share::default();
    for (thread, now) in after {
        let then = before.get(thread).copied().unwrap_or_default();
        sum.ran += now.ran.saturating_sub(then.ran);
        sum.waited += now.waited.saturating_sub(then.waited);
    }
    sum
}

/// Proportional set size of these processes, in bytes.
pub(crate) fn pss(pids: &[u32]) -> u64 {
    let read = |pid| fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    pids.iter().filter_map(|pid| parse_kilobytes(&read(pid), "Pss:")).sum()
}

/// Resident memory of these processes, in bytes: now, and the most since [`forget_peak`].
pub(crate) fn resident(pids: &[u32]) -> (u64, u64) {
    let (mut now, mut peak) = (0, 0);
    for pid in pids {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        now += parse_kilobytes(&status, "VmRSS:").unwrap_or(0);
        peak += parse_kilobytes(&status, "VmHWM:").unwrap_or(0);
    }
    (now, peak)
}

/// Lets the peak of [`resident`] begin anew.
pub(crate) fn forget_peak(pids: &[u32]) -> io::Result<()> {
    pids.iter().try_for_each(|pid| fs::write(format!("/proc/{pid}/clear_refs"), "5"))
}

/// What the kernel holds for sockets: TCP buffers, and all slabs, in bytes. Both are of the whole machine.
pub(crate) fn kernel() -> (u64, u64) {
    let sockstat = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    (parse_sockstat(&sockstat).unwrap_or(0), parse_kilobytes(&meminfo, "Slab:").unwrap_or(0))
}

/// The fourth field, behind a name that may hold anything.
fn parse_parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn parse_schedstat(text: &str) -> Option<Share> {
    let mut words = text.split_whitespace();
    Some(Share { ran: words.next()?.parse().ok()?, waited: words.next()?.parse().ok()? })
}

fn parse_kilobytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

fn parse_sockstat(text: &str) -> Option<u64> {
    let mut words = text.lines().find_map(|line| line.strip_prefix("TCP:"))?.split_whitespace();
    words.find(|&word| word == "mem")?;
    Some(words.next()?.parse::<u64>().ok()? * 4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn procfs_texts_are_read() {
        assert_eq!(parse_schedstat("62242 17 1\n"), Some(Share { ran: 62242, waited: 17 }));
        assert_eq!(parse_parent("7 (a) b (c) S 42 7 7 0 -1"), Some(42));
        assert_eq!(parse_kilobytes("Rss:  1800 kB\nPss:   314 kB\nPss_Dirty: 1 kB\n", "Pss:"), Some(314 * 1024));
        assert_eq!(parse_sockstat("sockets: used 16\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 288\n"), Some(288 * 4096));
        assert_eq!(parse_sockstat(""), None);
    }

    #[test]
    fn procfs_peak_begins_anew_once_forgotten() {
        let own = [std::process::id()];
        let peak = || resident(&own).1;
        let much = vec![1u8; 256 << 20];
        assert!(resident(&own).0 >= much.len() as u64);
        drop(std::hint::black_box(much));
        let before = peak();
        forget_peak(&own).unwrap();
        assert!(peak() + (128 << 20) < before, "{} is still the peak after {before}", peak());
    }

    #[test]
    fn procfs_own_process_has_time_and_memory() {
        let own = family(&[std::process::id()]);
        let before = cpu(&own);
        assert!(pss(&own) > 0);
        let (now, most) = resident(&[std::process::id()]);
        assert!(0 < now && now <= most);
        assert!(!before.is_empty());
        assert_eq!(cpu_between(&before, &before), Share::default());
    }
}
