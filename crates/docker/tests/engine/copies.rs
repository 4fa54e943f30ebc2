//! Workspaces that the engine does not see. The test is run again in a mount namespace of its own,
//! in which the workspace lies on a file system that nobody else has.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::process::Command;

use stigmer_core::WorkspaceManager as _;
use stigmer_core::manager::PlaceState;

use crate::support::*;

const NAME: &str = "copies::a_workspace_that_the_engine_does_not_see_is_copied";

/// The directory of the test that runs within.
const WITHIN: &str = "STIGMER_TEST_WITHIN";

/// Puts a file system that is empty onto a directory.
fn cover(directory: &Path) {
    let target = CString::new(directory.to_str().unwrap()).unwrap();
    // SAFETY: all are texts that end with a zero, or null where the kernel takes that.
    let done = unsafe {
        libc::mount(c"none".as_ptr(), target.as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null())
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

#[tokio::test]
async fn a_workspace_that_the_engine_does_not_see_is_copied() {
    if !engine() {
        return;
    }
    let Some(within) = std::env::var_os(WITHIN).map(PathBuf::from) else {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-current-user", "--keep-caps", "--mount", "--"]);
        command.arg(std::env::current_exe().unwrap()).args(["--exact", NAME, "--nocapture"]);
        let done = command.env(WITHIN, directory.path()).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stdout));
        return;
    };
    cover(&within);
    let home = Home::at(tempfile::tempdir_in(&within).unwrap());
    std::fs::write(home.root().join("file"), "from outside").unwrap();
    std::fs::create_dir(home.root().join("directory")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", home.root().join("directory/link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(home.root().join("socket")).unwrap();
    let large = home.root().join("directory/large");
    std::fs::write(&large, vec![7; 3_000_001]).unwrap();
    let long = "n".repeat(200);
    std::fs::write(home.root().join(&long), "long").unwrap();
    let manager = home.manager();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o640);
    std::fs::set_permissions(&large, mode).unwrap();
    let told = Told::default();
    let executor = manager.open(&home.site, &|progress| told.take(progress)).await.unwrap();
    assert!(told.text().contains("copy"), "{}", told.text());
    assert_eq!(
        text(&*executor, "cat file; echo; readlink directory/link; id -u").await,
        format!("from outside\n/etc/passwd\n{}", rustix::process::geteuid().as_raw())
    );
    let line = format!("test ! -e socket; cat {long}; stat -c '%s %a' directory/large");
    assert_eq!(text(&*executor, &line).await, "long3000001 640");
    text(&*executor, "echo changed > file").await;
    assert_eq!(std::fs::read_to_string(home.root().join("file")).unwrap(), "from outside");
    let status = manager.status(&home.site).await.unwrap();
    assert_eq!(status.state, PlaceState::Ready);
    assert!(status.notes.iter().any(|note| note.contains("copy")), "{:?}", status.notes);
    // Another program reaches it through the engine, and another container has the same files.
    let executor = home.manager().open(&home.site, &quiet).await.unwrap();
    assert_eq!(text(&*executor, "cat file").await, "changed");
    let id = home.id().await;
    manager.recover(&home.site, &quiet).await.unwrap();
    assert_ne!(home.id().await, id);
    let executor = manager.open(&home.site, &quiet).await.unwrap();
    assert_eq!(text(&*executor, "cat file").await, "changed");
    // The socket's place is the engine's stream, which carries many requests at once.
    let all = (0..20).map(|number| {
        let executor = &executor;
        async move { text(&**executor, &format!("echo {number}")).await }
    });
    let all = futures_util::future::join_all(all).await;
    assert_eq!(all, (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
    let large = text(&*executor, "head -c 3000000 /dev/zero | tr '\\0' x | wc -c").await;
    assert_eq!(large, "3000000");
    home.over().await;
}
