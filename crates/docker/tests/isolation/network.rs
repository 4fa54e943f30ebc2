//! What a command reaches, and who reaches it.

use stigmer_docker::Network;

use crate::sandbox::Sandbox;
use crate::support::*;

/// Tries to get out in every way that needs no name.
const OUT: &str = "
import socket
for family, address in [(socket.AF_INET, ('192.0.2.1', 80)), (socket.AF_INET, ('172.17.0.1', 22)),
                        (socket.AF_INET6, ('2001:db8::1', 80))]:
    for kind in [socket.SOCK_STREAM, socket.SOCK_DGRAM]:
        try:
            s = socket.socket(family, kind)
            s.settimeout(5)
            s.connect(address)
            print('connected')
        except OSError as error:
            if error.errno not in (101, 99, 97):
                print(address, kind, error)
for kind in [socket.SOCK_RAW]:
    try:
        socket.socket(socket.AF_INET, kind, 1)
        print('raw')
    except PermissionError:
        pass
";

#[tokio::test]
async fn without_a_network_there_is_loopback_alone() {
    let Some(sandbox) = Sandbox::with(|options| options.network = Network::None).await else {
        return;
    };
    let devices = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '";
    assert_eq!(sandbox.text(devices).await, "lo");
    assert_eq!(sandbox.python(OUT).await, "");
    // A service of this machine on its loopback is not the container's.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let reach = format!(
        "
import socket
try:
    socket.create_connection(('127.0.0.1', {port}), 5)
    print('reached')
except ConnectionRefusedError:
    print('refused')
"
    );
    assert_eq!(sandbox.python(&reach).await, "refused");
}

#[tokio::test]
async fn on_the_bridge_nothing_of_ours_listens() {
    let Some(sandbox) = Sandbox::with(|options| options.network = Network::Bridge).await else {
        return;
    };
    // State 0A is a socket that listens; one of UDP that is bound has 07.
    let listening = "cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -c ' 0A '; \
                     cat /proc/net/udp /proc/net/udp6 2>/dev/null | grep -c ' 07 '; true";
    assert_eq!(sandbox.text(listening).await, "0\n0");
    assert_eq!(docker(&["port", &sandbox.home.name().await]), "");
}
