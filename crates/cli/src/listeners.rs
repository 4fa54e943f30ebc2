//! Who listens on a port of this machine.

/// The state of a socket that listens, as the kernel writes it (TCP_LISTEN).
const LISTENING: &str = "0A";

/// Whether somebody listens there who is neither us nor root: a key is shown to its owner only.
pub(crate) fn another_users(port: u16) -> bool {
    let own = rustix::process::geteuid().as_raw();
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        let text = std::fs::read_to_string(table).unwrap_or_default();
        owners(&text, port).iter().any(|uid| *uid != own && *uid != 0)
    })
}

/// The users who listen on a port, by a table of the kernel's.
fn owners(table: &str, port: u16) -> Vec<u32> {
    let owner = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (local, state, uid) = (words.get(1)?, words.get(3)?, words.get(7)?);
        let here = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()? == port;
        if here && *state == LISTENING { uid.parse().ok() } else { None }
    };
    table.lines().skip(1).filter_map(owner).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found_in_the_kernels_table() {
        let ours = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = ours.local_addr().unwrap().port();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(owners(&table, port), [own]);
        assert!(!another_users(port));
        let others = table.replace(&format!(" {own} "), " 4242 ");
        assert_eq!(owners(&others, port), [if own == 0 { 0 } else { 4242 }]);
        assert_eq!(owners("", port), [0; 0]);
    }
}
