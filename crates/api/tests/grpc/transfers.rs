//! Moving trees in and out, and watching them.

use futures_util::stream;
use stigmer_api::wire;
use stigmer_api::wire::transfers_client::TransfersClient;
use stigmer_api::wire::upload_request::Part;
use stigmer_api::wire::{UploadBegin, UploadFinish, UploadRequest};
use stigmer_core::transfer::TransferFormat;
use stigmer_core::{ByteString, ErrorCode, ToolError};

use crate::place::{Place, error, trials};

trials! {
    what_is_uploaded_comes_back,
    an_upload_that_breaks_off_leaves_nothing,
    an_archive_must_be_finished_too,
    messages_out_of_order_are_refused,
    the_first_message_of_a_watch_says_that_it_is_in_place,
}

fn begin(path: &str, format: TransferFormat) -> Part {
    let format = wire::TransferFormat::from(format).into();
    Part::Begin(UploadBegin {
        path: Some(ByteString::from(path).into()),
        format,
        ..Default::default()
    })
}

fn data(bytes: &'static [u8]) -> Part {
    Part::Data(bytes.into())
}

fn finish() -> Part {
    Part::Finish(UploadFinish {})
}

async fn upload(place: &Place, parts: Vec<Part>) -> Result<wire::UploadSummary, ToolError> {
    let parts = parts.into_iter().map(|part| UploadRequest { part: Some(part) });
    match TransfersClient::new(place.routes.clone()).upload(stream::iter(parts)).await {
        Ok(done) => Ok(done.into_inner()),
        failed => Err(error(failed)),
    }
}

async fn what_is_uploaded_comes_back(place: Place) {
    let parts = vec![begin("d/f", TransferFormat::File), data(b"one "), data(b"two"), finish()];
    let done = upload(&place, parts).await.unwrap();
    assert_eq!((done.files, done.bytes), (1, 7));
    let request = wire::DownloadRequest {
        path: Some(ByteString::from("d/f").into()),
        format: wire::TransferFormat::File.into(),
        ..Default::default()
    };
    let mut client = TransfersClient::new(place.routes.clone());
    let mut parts = client.download(request.clone()).await.unwrap().into_inner();
    let mut all = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        all.extend_from_slice(&part.data);
    }
    assert_eq!(all, b"one two");
    let missing = wire::DownloadRequest { path: Some(ByteString::from("no").into()), ..request };
    assert_eq!(error(client.download(missing).await).code, ErrorCode::NotFound);
}

async fn an_upload_that_breaks_off_leaves_nothing(place: Place) {
    std::fs::write(place.path("old"), "old").unwrap();
    for name in ["new", "old"] {
        let parts = vec![begin(name, TransferFormat::File), data(b"half of it")];
        let failed = upload(&place, parts).await.unwrap_err();
        assert_eq!(failed.code, ErrorCode::InvalidArgument);
        assert!(failed.message.starts_with("finish: "), "{failed}");
    }
    let left: Vec<_> =
        std::fs::read_dir(place.path("")).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, ["old"]);
    assert_eq!(std::fs::read_to_string(place.path("old")).unwrap(), "old");
}

async fn an_archive_must_be_finished_too(place: Place) {
    // Two blocks of zeros: the end of an archive with nothing in it.
    static EMPTY: [u8; 10_240] = [0; 10_240];
    let parts = |last: Vec<Part>| {
        let mut parts = vec![begin("d", TransferFormat::Tar), data(&EMPTY)];
        parts.extend(last);
        parts
    };
    upload(&place, parts(vec![finish()])).await.unwrap();
    let failed = upload(&place, parts(vec![])).await.unwrap_err();
    assert!(failed.message.starts_with("finish: "), "{failed}");
}

async fn messages_out_of_order_are_refused(place: Place) {
    let first = || begin("f", TransferFormat::File);
    for (parts, at) in [
        (vec![], "begin: "),
        (vec![data(b"x"), finish()], "begin: "),
        (vec![first(), first(), finish()], "begin: "),
    ] {
        let refused = upload(&place, parts).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidArgument);
        assert!(refused.message.starts_with(at), "{refused}");
    }
    let empty = [UploadRequest { part: None }];
    let refused = TransfersClient::new(place.routes.clone()).upload(stream::iter(empty)).await;
    assert_eq!(error(refused).code, ErrorCode::InvalidArgument);
    assert!(!place.path("f").exists());
}

async fn the_first_message_of_a_watch_says_that_it_is_in_place(place: Place) {
    let mut client = TransfersClient::new(place.routes.clone());
    let mut events = client.watch(wire::WatchRequest::default()).await.unwrap().into_inner();
    assert_eq!(events.message().await.unwrap().unwrap().change, None);
    std::fs::write(place.path("f"), "").unwrap();
    let change = events.message().await.unwrap().unwrap().change.unwrap();
    assert_eq!(ByteString::from(change.path.unwrap()).as_bytes(), b"f");
}
