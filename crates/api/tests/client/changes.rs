//! What changes files is never repeated unseen; what reads is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::iter;
use libtest_mimic::Trial;
use stigmer_api::client::RemoteExecutor;
use stigmer_core::file::{MakeDirectory, ReadFile, WriteFile};
use stigmer_core::manager::PlaceState;
use stigmer_core::process::{SignalRequest, StartProcess, Stdin};
use stigmer_core::transfer::{Download, TransferFormat, Upload, Watch};
use stigmer_core::workspace::OpenWorkspace;
use stigmer_core::{ErrorCode, ToolError, ToolExecutor as _};
use stigmer_host::Launcher;

use crate::proxy::Way;
use crate::{Place, client_of, trial};

pub(crate) fn trials(launcher: &Arc<Launcher>) -> Vec<Trial> {
    vec![
        trial(launcher, "a_change_whose_answer_was_cut_has_an_unknown_fate", changes),
        trial(launcher, "a_change_that_was_never_sent_is_unavailable", never_sent),
        trial(launcher, "reading_is_repeated_wherever_it_is_cut", reads),
        trial(launcher, "forgetting_an_affinity_is_repeated", resets),
        trial(launcher, "input_is_never_sent_twice", steers),
        trial(launcher, "a_download_that_is_cut_ends_with_an_error", downloads),
        trial(launcher, "an_upload_arrives_whole_or_not_at_all", uploads),
        trial(launcher, "a_watch_that_is_cut_ends_with_an_error", watches),
    ]
}

fn write(path: &str) -> WriteFile {
    WriteFile {
        path: path.into(),
        content: "content".into(),
        expected_sha256: None,
        create_only: true,
    }
}

async fn changes(place: Place) {
    place.proxy.cut(Way::ToClient, 0);
    let error = place.remote.write_file(write("file")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::CompletionUnknown, "{error}");
    assert!(!error.retryable);
    assert_eq!(place.proxy.cuts(), 1);
    assert_eq!(place.read("file"), "content", "the server had not done it");
    let request = MakeDirectory { path: "directory".into(), parents: false };
    place.proxy.cut(Way::ToServer, 10);
    let error = place.remote.make_directory(request).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::CompletionUnknown, "{error}");
    assert!(!place.root().join("directory").exists());
}

async fn never_sent(mut place: Place) {
    let direct = client_of(&place.home.path().join("server"));
    let direct = RemoteExecutor::open(direct, OpenWorkspace::default()).await.unwrap();
    place.server.kill().await;
    // The connection's end may be noticed by the request that it cuts; the next one is not sent.
    let _ = direct.stat_file("file".into()).await;
    let error = direct.write_file(write("file")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable, "{error}");
    assert!(error.retryable);
    place.server.start_again();
    // The circuit is open by now, and closes when the server has been asked again.
    while let Err(error) = direct.write_file(write("file")).await {
        assert_eq!(error.code, ErrorCode::Unavailable, "{error}");
        let wait = error.details["retry_after_ms"].as_u64().unwrap();
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
    assert_eq!(place.read("file"), "content");
}

async fn reads(place: Place) {
    std::fs::write(place.root().join("file"), "content").unwrap();
    for way in [Way::ToServer, Way::ToClient] {
        for after in (0..).step_by(11) {
            place.proxy.cut(way, after);
            let content =
                place.remote.read_file(ReadFile { path: "file".into(), ..ReadFile::default() });
            assert_eq!(content.await.unwrap().content, "content".into(), "{way:?} {after}");
            if place.proxy.forget() {
                break;
            }
        }
    }
    assert!(place.proxy.cuts() > 10);
    let missing = place.remote.stat_file("missing".into()).await.unwrap_err();
    assert_eq!(missing.code, ErrorCode::NotFound);
    assert!(missing.hint.is_some() && missing.details.contains_key("path"), "{missing:?}");
}

async fn resets(place: Place) {
    place.proxy.cut(Way::ToClient, 0);
    let status = place.client.reset_affinity("/w").await.unwrap();
    assert_eq!((status.root, status.state), ("/w".into(), PlaceState::Ready));
    assert_eq!(place.proxy.cuts(), 1);
}

async fn steers(place: Place) {
    let line = "while read line; do echo \"$line\" >> lines; done";
    let start = StartProcess { stdin: Stdin::Stream, ..StartProcess::shell(line) };
    let started = place.remote.start_process(start).await.unwrap();
    place.proxy.cut(Way::ToClient, 0);
    let error = place.remote.write_stdin(&started.id, "one\n".into()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::CompletionUnknown, "{error}");
    place.proxy.cut(Way::ToClient, 0);
    let send = place.remote.signal(&started.id, SignalRequest::Send(18)).await;
    assert_eq!(send.unwrap_err().code, ErrorCode::CompletionUnknown);
    place.proxy.cut(Way::ToClient, 0);
    // A terminal would have typed a second end of file.
    let end = place.remote.close_stdin(&started.id).await;
    assert_eq!(end.unwrap_err().code, ErrorCode::CompletionUnknown);
    // Who knows their command may say it again.
    if let Err(error) = place.remote.close_stdin(&started.id).await {
        let over = [ErrorCode::StdinClosed, ErrorCode::ProcessEnded];
        assert!(over.contains(&error.code), "{error}");
    }
    assert_eq!(place.remote.wait(&started.id).await.unwrap().code, 0);
    assert_eq!(place.read("lines"), "one\n");
    let started = place.remote.start_process(StartProcess::shell("sleep 60")).await.unwrap();
    place.proxy.cut(Way::ToClient, 0);
    place.remote.signal(&started.id, SignalRequest::Kill).await.unwrap().unwrap();
    assert_eq!(place.proxy.cuts(), 4);
}

async fn downloads(place: Place) {
    let content = vec![b'x'; 3 << 20];
    std::fs::write(place.root().join("large"), &content).unwrap();
    let request = Download { path: "large".into(), format: TransferFormat::File };
    let mut parts = place.remote.download(request.clone()).await.unwrap();
    let mut whole = Vec::new();
    while let Some(part) = parts.next().await {
        whole.extend_from_slice(&part.unwrap());
    }
    assert!(whole == content);
    place.proxy.cut(Way::ToClient, 1 << 20);
    let mut parts = place.remote.download(request).await.unwrap();
    let mut last = None;
    while let Some(part) = parts.next().await {
        last = Some(part);
    }
    let error = last.unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable, "{error}");
    assert!(error.message.starts_with("the download of large broke off: "), "{error}");
    assert_eq!(error.details["path"], "large");
    assert!(error.hint.is_some_and(|hint| hint.contains("download it again")));
}

async fn uploads(place: Place) {
    let pieces: Vec<Bytes> = (0..8).map(|number| Bytes::from(vec![number; 300 << 10])).collect();
    let request =
        |path: &str| Upload { path: path.into(), format: TransferFormat::File, mode: None };
    let content = || pieces.clone().into_iter().map(Ok).collect::<Vec<_>>();
    let summary = place.remote.upload(request("whole"), Box::pin(iter(content()))).await.unwrap();
    assert_eq!(summary.bytes, 8 * (300 << 10));
    assert!(std::fs::read(place.root().join("whole")).unwrap() == pieces.concat());

    let mut broken = content();
    broken.push(Err(ToolError::new(ErrorCode::DiskFull, "the source is broken")));
    let error = place.remote.upload(request("broken"), Box::pin(iter(broken))).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::DiskFull, "{error}");
    assert!(!place.root().join("broken").exists());

    place.proxy.cut(Way::ToServer, 1 << 20);
    let error = place.remote.upload(request("cut"), Box::pin(iter(content()))).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::CompletionUnknown, "{error}");
    assert!(!place.root().join("cut").exists());
}

async fn watches(place: Place) {
    let mut changes = place.remote.watch(Watch::default()).await.unwrap();
    std::fs::write(place.root().join("file"), "content").unwrap();
    let change = changes.next().await.unwrap().unwrap();
    assert_eq!(change.path, "file".into());
    place.proxy.cut(Way::ToClient, 0);
    std::fs::write(place.root().join("other"), "content").unwrap();
    let error = loop {
        match changes.next().await.unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.code, ErrorCode::Unavailable, "{error}");
    assert!(changes.next().await.is_none());
}
