//! Whom commands run as, and that they become nobody else.

use crate::sandbox::{SIX, Sandbox, capabilities, field};

#[tokio::test]
async fn a_command_is_the_caller_without_capabilities_and_filtered() {
    let Some(sandbox) = Sandbox::new().await else { return };
    let uid = rustix::process::geteuid().as_raw().to_string();
    let gid = rustix::process::getegid().as_raw().to_string();
    let status = sandbox.text("cat /proc/self/status").await;
    assert!(field(&status, "Uid").split_whitespace().all(|number| number == uid), "{status}");
    assert!(field(&status, "Gid").split_whitespace().all(|number| number == gid), "{status}");
    assert_eq!(field(&status, "Groups"), "", "no group of the image's or the engine's");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(capabilities(&status, set), 0, "{set}");
    }
    assert_eq!(capabilities(&status, "CapBnd") & !SIX, 0, "{status}");
    assert_eq!(field(&status, "NoNewPrivs"), "1");
    assert_eq!(field(&status, "Seccomp"), "2");
}

#[tokio::test]
async fn only_process_1_is_more_than_the_caller() {
    let Some(sandbox) = Sandbox::new().await else { return };
    let uid = rustix::process::geteuid().as_raw().to_string();
    let (_, all) = sandbox
        .as_root("for f in $(grep -l s[i]decar /proc/[0-9]*/cmdline); do cat ${f%cmdline}status; echo; done")
        .await;
    let mut seen = 0;
    for status in all.split("\n\n").filter(|status| status.contains("Pid:")) {
        seen += 1;
        let effective = capabilities(status, "CapEff");
        if field(status, "Pid") == "1" {
            assert_eq!(effective, SIX, "{status}");
        } else {
            assert_eq!(effective | capabilities(status, "CapPrm"), 0, "{status}");
            assert_eq!(field(status, "Uid").split_whitespace().next(), Some(&*uid), "{status}");
        }
        assert_eq!(field(status, "NoNewPrivs"), "1");
    }
    assert!(seen >= 2, "process 1 and the server: {all}");
}

#[tokio::test]
async fn setuid_programs_give_nothing() {
    let Some(sandbox) = Sandbox::new().await else { return };
    let made = "cp /usr/bin/id /usr/local/bin/id-of-root && chmod 6755 /usr/local/bin/id-of-root";
    let (done, said) = sandbox.as_root(made).await;
    assert!(done, "{said}");
    assert_eq!(sandbox.text("stat -c %A:%u /usr/local/bin/id-of-root").await, "-rwsr-sr-x:0");
    let uid = rustix::process::geteuid().as_raw().to_string();
    let gid = rustix::process::getegid().as_raw().to_string();
    let is = sandbox.text("id-of-root -u; id-of-root -g").await;
    assert_eq!(is, format!("{uid}\n{gid}"));
}
