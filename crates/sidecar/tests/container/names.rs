//! The workspace's two names: file operations take both, as commands do.

use futures_util::{StreamExt as _, stream};
use stigmer_core::file::{ListDirectory, MovePath, ReadFile, WriteFile};
use stigmer_core::search::{GrepSearch, SearchFiles};
use stigmer_core::transfer::{Download, TransferFormat, Upload};
use stigmer_core::{ErrorCode, ToolExecutor};

use crate::support::*;

async fn read(executor: &dyn ToolExecutor, path: &str) -> Result<String, ErrorCode> {
    let request = ReadFile { path: path.into(), ..ReadFile::default() };
    let file = executor.read_file(request).await.map_err(|error| error.code)?;
    Ok(String::from_utf8(file.content.into_bytes()).unwrap())
}

fn write(path: &str, content: &str) -> WriteFile {
    WriteFile { path: path.into(), content: content.into(), ..WriteFile::default() }
}

#[tokio::test]
async fn what_is_beneath_workspace_is_the_same_for_files_and_commands() {
    if !engine() {
        return;
    }
    let container = Container::new(BASE);
    let executor = container.executor().await;
    executor.write_file(write("/workspace/d/file", "needle\n")).await.unwrap();
    assert_eq!(line(&executor, "cat /workspace/d/file d/file").await, "needle\nneedle");
    let root = container.root.display().to_string();
    for path in ["/workspace/d/file", "/workspace//d/../d/file", &format!("{root}/d/file")] {
        assert_eq!(read(&executor, path).await.as_deref(), Ok("needle\n"), "{path}");
    }
    // Links that commands make with it, too.
    line(&executor, "ln -s /workspace/d/file link && ln -s /workspace top").await;
    assert_eq!(read(&executor, "link").await.as_deref(), Ok("needle\n"));
    assert_eq!(read(&executor, "top/d/file").await.as_deref(), Ok("needle\n"));

    let list = ListDirectory { path: "/workspace".into(), ..ListDirectory::default() };
    let listing = executor.list_directory(list).await.unwrap();
    let names: Vec<_> = listing.entries.iter().map(|entry| entry.path.to_string()).collect();
    assert_eq!(names, ["d", "link", "top"]);
    let paths = vec!["/workspace/d".into()];
    let grep = GrepSearch { pattern: "needle".into(), paths, ..GrepSearch::default() };
    let found = executor.grep_search(grep).await.unwrap().matches;
    assert_eq!(found[0].path, "d/file".into());
    let directories = vec!["/workspace/d".into()];
    let find = SearchFiles { query: "file".into(), directories, ..SearchFiles::default() };
    assert_eq!(executor.search_files(find).await.unwrap().paths, ["d/file".into()]);

    let to = "/workspace/d/moved".into();
    let from = "/workspace/d/file".into();
    executor.move_path(MovePath { from, to, replace: false }).await.unwrap();
    let (path, format) = ("/workspace/up".into(), TransferFormat::File);
    let content = stream::iter([Ok("x".into())]);
    executor.upload(Upload { path, format, mode: None }, Box::pin(content)).await.unwrap();
    let path = "/workspace/d/moved".into();
    let mut down = executor.download(Download { path, format }).await.unwrap();
    assert_eq!(down.next().await.unwrap().unwrap(), "needle\n");
    let mut start = shell("pwd; cat moved ../up");
    start.cwd = "/workspace/d".into();
    let done = run(&executor, start).await;
    assert_eq!(
        String::from_utf8_lossy(done.stdout.head.as_bytes()),
        format!("{root}/d\nneedle\nx")
    );

    for path in ["/workspace/../etc/passwd", "/workspace2/d", "/", "/etc/passwd"] {
        assert_eq!(read(&executor, path).await, Err(ErrorCode::OutsideWorkspace), "{path}");
    }
}

#[tokio::test]
async fn where_workspace_is_something_else_it_is_outside() {
    if !engine() {
        return;
    }
    // An image that has it, with something in it, keeps it.
    let container = Wanted::new(BASE).engine("--volume=/etc:/workspace:ro".to_owned()).start();
    let executor = container.executor().await;
    line(&executor, "test -e /workspace/passwd").await;
    assert_eq!(read(&executor, "/workspace/passwd").await, Err(ErrorCode::OutsideWorkspace));
    assert_eq!(read(&executor, "/workspace").await, Err(ErrorCode::OutsideWorkspace));
}
