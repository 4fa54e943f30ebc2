//! Two sandboxes of one user.

use stigmer_core::process::{Lifetime, SignalRequest, StartProcess};

use crate::sandbox::Sandbox;

#[tokio::test]
async fn sandboxes_do_not_see_each_other() {
    let Some(first) = Sandbox::new().await else { return };
    let second = Sandbox::new().await.unwrap();
    assert_ne!(first.home.id().await, second.home.id().await);
    let mut marked =
        StartProcess::shell("echo mine > /tmp/mark; echo mine > mark; exec sleep 7654321");
    marked.lifetime = Lifetime::Detached;
    let marked = first.executor.start_process(marked).await.unwrap();
    while first.text("cat mark 2>/dev/null; true").await != "mine" {}
    let find = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done 2>/dev/null | grep -c 765432[1]";
    assert_eq!(first.text(find).await, "1");
    assert_eq!(second.text(&format!("{find}; true")).await, "0");
    assert_eq!(
        second
            .text(&format!("ls -d /tmp/mark '{}' 2>/dev/null; true", first.home.root().display()))
            .await,
        ""
    );
    assert_eq!(second.as_root("find / -xdev -name mark 2>/dev/null").await.1, "");
    for kind in ["pid", "mnt", "net", "ipc", "uts"] {
        let link = format!("readlink /proc/self/ns/{kind}");
        assert_ne!(first.text(&link).await, second.text(&link).await, "{kind}");
    }
    // What is kept of commands is each one's own.
    assert!(second.executor.process(&marked.id).await.is_err());
    let listed = second.executor.list_processes().await.unwrap();
    assert!(listed.iter().all(|process| process.id != marked.id));
    assert!(second.executor.signal(&marked.id, SignalRequest::Kill).await.is_err());
    first.executor.signal(&marked.id, SignalRequest::Kill).await.unwrap();
}
