//! Commands: following, resuming, holding, attaching.

use std::sync::Arc;

use stigmer_api::convert;
use stigmer_api::wire;
use stigmer_api::wire::attach_request::Part;
use stigmer_api::wire::output_event::Event;
use stigmer_api::wire::processes_client::ProcessesClient;
use stigmer_core::process::{StartProcess, Stdin};
use stigmer_core::{ByteString, ErrorCode, ProcessId, ToolExecutor as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::service::Routes;

use crate::place::{Place, error, shell, trials};

trials! {
    a_command_is_run_to_its_end,
    output_is_resumed_by_offset,
    a_character_that_is_cut_is_apart_from_the_text,
    a_command_is_fed_and_heard,
    a_signal_overtakes_input_that_is_not_read,
    what_a_command_does_not_take_does_not_end_its_output,
    a_message_that_cannot_be_understood_ends_the_attachment,
    a_descriptor_is_inherited_by_its_ticket,
}

type Client = ProcessesClient<Routes>;

fn client(place: &Place) -> Client {
    ProcessesClient::new(place.routes.clone())
}

async fn start(place: &Place, line: &str, stdin: wire::StdinSource) -> String {
    let request = wire::StartProcessRequest {
        command: shell(line),
        stdin: stdin.into(),
        ..Default::default()
    };
    client(place).start(request).await.unwrap().into_inner().id
}

fn follow(id: &str, since: u64) -> wire::OutputRequest {
    let follow = wire::Follow::UntilExit.into();
    wire::OutputRequest { id: id.into(), since, follow, hold: true, ..Default::default() }
}

async fn rest(mut events: Streaming<wire::OutputEvent>) -> Vec<wire::OutputEvent> {
    let mut all = Vec::new();
    while let Some(event) = events.message().await.unwrap() {
        all.push(event);
    }
    all
}

fn written(events: &[wire::OutputEvent]) -> Vec<u8> {
    let mut all = Vec::new();
    for event in events {
        if let Some(Event::Output(output)) = &event.event {
            all.extend(ByteString::from(output.bytes.clone().unwrap()).into_bytes());
        }
    }
    all
}

fn exit(events: &[wire::OutputEvent]) -> &wire::ExitStatus {
    match events.last().unwrap().event.as_ref().unwrap() {
        Event::Exit(exit) => exit,
        other => panic!("{other:?}"),
    }
}

async fn a_command_is_run_to_its_end(place: Place) {
    let request = |line| {
        let start = wire::StartProcessRequest { command: shell(line), ..Default::default() };
        wire::ExecuteRequest { start: Some(start), ..Default::default() }
    };
    let done = client(&place).execute(request("echo out; echo err >&2; exit 3")).await.unwrap();
    let done: stigmer_core::process::Executed = convert::reply(done.into_inner()).unwrap();
    assert_eq!((done.exit.code, done.stdout.head.as_bytes()), (3, &b"out\n"[..]));
    assert_eq!(done.stderr.head.as_bytes(), b"err\n");
    // Nobody asked for a stream, and so nobody may write to it.
    let input = Some(ByteString::from("x").into());
    let refused = client(&place).execute(wire::ExecuteRequest { input, ..request("true") }).await;
    assert_eq!(error(refused).code, ErrorCode::InvalidArgument);
}

async fn output_is_resumed_by_offset(place: Place) {
    let line =
        "i=0; while [ $i -lt 200 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done; exit 5";
    let id = start(&place, line, wire::StdinSource::Empty).await;
    let all = rest(client(&place).output(follow(&id, 0)).await.unwrap().into_inner()).await;
    assert_eq!(exit(&all).code, 5);
    let bytes = written(&all);
    assert_eq!(bytes.len() as u64, exit(&all).output_bytes);
    assert!(all.len() > 2);
    for (index, event) in all.iter().enumerate() {
        let again = client(&place).output(follow(&id, event.next)).await.unwrap().into_inner();
        let again = rest(again).await;
        assert_eq!(written(&again), written(&all[index + 1..]), "after {}", event.next);
        assert_eq!(exit(&again), exit(&all), "whoever resumes at the end is told of it again");
    }
    let past = error(client(&place).output(follow(&id, u64::MAX)).await);
    assert_eq!(past.code, ErrorCode::InvalidArgument);
}

async fn a_character_that_is_cut_is_apart_from_the_text(place: Place) {
    let id = start(&place, r"printf 'text\342\202'", wire::StdinSource::Empty).await;
    let all = rest(client(&place).output(follow(&id, 0)).await.unwrap().into_inner()).await;
    let parts: Vec<_> = all
        .iter()
        .filter_map(|event| match &event.event {
            Some(Event::Output(output)) => {
                Some((event.next, output.bytes.clone().unwrap().value.unwrap()))
            }
            _ => None,
        })
        .collect();
    use stigmer_api::wire::byte_string::Value::{Base64, Text};
    assert_eq!(parts, [(4, Text("text".into())), (6, Base64((&b"\xe2\x82"[..]).into()))]);
}

/// Attached to a command, with what is said to it.
async fn attach(
    place: &Place,
    id: &str,
) -> (mpsc::Sender<wire::AttachRequest>, Streaming<wire::OutputEvent>) {
    let (sender, receiver) = mpsc::channel(64);
    let begin = wire::AttachRequest { part: Some(Part::Begin(follow(id, 0))) };
    sender.send(begin).await.unwrap();
    let output = client(place).attach(ReceiverStream::new(receiver)).await.unwrap();
    (sender, output.into_inner())
}

async fn say(sender: &mpsc::Sender<wire::AttachRequest>, part: Part) {
    sender.send(wire::AttachRequest { part: Some(part) }).await.unwrap();
}

async fn a_command_is_fed_and_heard(place: Place) {
    let id = start(&place, "cat; exit 7", wire::StdinSource::Stream).await;
    let (sender, mut output) = attach(&place, &id).await;
    for piece in ["one ", "two ", "three"] {
        say(&sender, Part::Data(piece.into())).await;
    }
    let mut heard = Vec::new();
    while heard.len() < 13 {
        heard.extend(written(&[output.message().await.unwrap().unwrap()]));
    }
    assert_eq!(heard, b"one two three");
    say(&sender, Part::CloseStdin(wire::CloseInput {})).await;
    // The output does not need its client to go on speaking.
    drop(sender);
    assert_eq!(exit(&rest(output).await).code, 7);
}

async fn a_signal_overtakes_input_that_is_not_read(place: Place) {
    let id = start(&place, "sleep 1000", wire::StdinSource::Stream).await;
    let (sender, output) = attach(&place, &id).await;
    // More than a pipe holds.
    for _ in 0..3 {
        say(&sender, Part::Data(vec![b'x'; 1 << 20].into())).await;
    }
    say(&sender, Part::Signal(stigmer_core::process::SignalRequest::Kill.into())).await;
    assert_eq!(exit(&rest(output).await).reason(), wire::EndReason::Cancelled);
}

async fn what_a_command_does_not_take_does_not_end_its_output(place: Place) {
    let id = start(&place, "read line; echo $line", wire::StdinSource::Stream).await;
    let (sender, output) = attach(&place, &id).await;
    // It has no terminal.
    say(&sender, Part::Resize(wire::TerminalSize { rows: 1, columns: 2 })).await;
    say(&sender, Part::Data("heard\n".into())).await;
    say(&sender, Part::CloseStdin(wire::CloseInput {})).await;
    say(&sender, Part::Data("too late".into())).await;
    let all = rest(output).await;
    assert_eq!((written(&all), exit(&all).code), (b"heard\n".to_vec(), 0));
}

async fn a_message_that_cannot_be_understood_ends_the_attachment(place: Place) {
    let id = start(&place, "sleep 1000", wire::StdinSource::Stream).await;
    let wrong = [
        (None, ErrorCode::InvalidArgument),
        (Some(Part::Begin(follow(&id, 0))), ErrorCode::InvalidArgument),
        (Some(Part::Signal(Default::default())), ErrorCode::InvalidArgument),
        (
            Some(Part::Resize(wire::TerminalSize { rows: 1 << 20, columns: 1 })),
            ErrorCode::InvalidArgument,
        ),
        (Some(Part::Data(vec![0; (1 << 20) + 1].into())), ErrorCode::TooLarge),
    ];
    for (part, code) in wrong {
        let (sender, mut output) = attach(&place, &id).await;
        sender.send(wire::AttachRequest { part }).await.unwrap();
        assert_eq!(error(output.message().await).code, code);
    }
    // And so does one that comes before the first.
    let (sender, receiver) = mpsc::channel(1);
    say(&sender, Part::Data("x".into())).await;
    let refused = error(client(&place).attach(ReceiverStream::new(receiver)).await);
    assert!(refused.message.starts_with("begin: "), "{refused}");
    let id: ProcessId = id.parse().unwrap();
    place.executor.signal(&id, stigmer_core::process::SignalRequest::Kill).await.unwrap();
}

async fn a_descriptor_is_inherited_by_its_ticket(place: Place) {
    std::fs::write(place.path("input"), "from the descriptor").unwrap();
    let file = || std::fs::File::open(place.path("input")).unwrap();
    place.provider.tickets.lock().unwrap().insert("ticket".into(), file().into());
    let start = StartProcess {
        stdin: Stdin::Inherit(Arc::new(file().into())),
        ..StartProcess::shell("cat")
    };
    let execute = stigmer_core::process::Execute::new(start);
    let request = convert::execute_request(execute, Some("ticket".into())).unwrap();
    let done = client(&place).execute(request.clone()).await.unwrap().into_inner();
    let stdout = done.stdout.unwrap().head.unwrap();
    assert_eq!(ByteString::from(stdout).as_bytes(), b"from the descriptor");
    let again = error(client(&place).execute(request).await);
    assert!(again.message.starts_with("stdin_ticket: "), "{again}");
}
