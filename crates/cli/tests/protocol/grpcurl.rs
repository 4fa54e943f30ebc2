//! A generic gRPC client that knows nothing of stigmer: it learns everything by reflection.
//!
//! It takes grpcurl's command line as far as `docs/protocol.md` uses it, so that the examples there
//! are run as they stand where grpcurl itself is not installed.

use std::error::Error;
use std::io::Read;

use prost_reflect::bytes::{Buf, BufMut};
use prost_reflect::prost::Message;
use prost_reflect::prost_types::FileDescriptorProto;
use prost_reflect::{
    DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions,
};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{MetadataKey, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The largest message that is taken.
const LARGEST: usize = 256 << 20;

/// What was asked for on the command line.
#[derive(Default)]
struct Asked {
    unix: bool,
    headers: Vec<(String, String)>,
    data: String,
    words: Vec<String>,
}

/// Runs as grpcurl; returns the exit code.
pub(crate) fn main(arguments: impl Iterator<Item = String>) -> i32 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match runtime.block_on(run(arguments)) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("ERROR:\n  {error}");
            1
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Outcome<Asked> {
    let mut asked = Asked::default();
    while let Some(word) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "-plaintext" => {}
            "-unix" => asked.unix = true,
            "-d" => asked.data = value()?,
            "-authority" => {
                value()?;
            }
            "-H" => {
                let header = value()?;
                let (name, value) = header.split_once(':').ok_or("a header has a colon")?;
                asked.headers.push((name.trim().to_lowercase(), value.trim().to_owned()));
            }
            word if word.starts_with('-') => return Err(format!("unknown option {word}").into()),
            _ => asked.words.push(word),
        }
    }
    if asked.data == "@" {
        asked.data.clear();
        std::io::stdin().read_to_string(&mut asked.data)?;
    }
    Ok(asked)
}

async fn run(arguments: impl Iterator<Item = String>) -> Outcome<()> {
    let asked = parse(arguments)?;
    let [address, rest @ ..] = asked.words.as_slice() else { return Err("no address".into()) };
    let channel = connect(address, asked.unix).await?;
    match rest {
        [list] if list == "list" => {
            let all = ask(&channel, &asked, MessageRequest::ListServices(String::new())).await?;
            let MessageResponse::ListServicesResponse(all) = all else {
                return Err("no list of services".into());
            };
            let mut names: Vec<String> = all.service.into_iter().map(|one| one.name).collect();
            names.sort();
            names.iter().for_each(|name| println!("{name}"));
            Ok(())
        }
        [list, service] if list == "list" => {
            let pool = describe(&channel, &asked, service).await?;
            let service = pool.get_service_by_name(service).ok_or("no such service")?;
            service.methods().for_each(|method| println!("{}", method.full_name()));
            Ok(())
        }
        [name] => {
            let (service, method) =
                name.rsplit_once(['/', '.']).ok_or("a method is named service/method")?;
            let pool = describe(&channel, &asked, service).await?;
            let service = pool.get_service_by_name(service).ok_or("no such service")?;
            let found = service.methods().find(|one| one.name() == method);
            call(channel, &asked, found.ok_or("no such method")?).await
        }
        _ => Err("usage: grpcurl [-plaintext] [-unix] [-H header] [-d json] address method".into()),
    }
}

async fn connect(address: &str, unix: bool) -> Outcome<Channel> {
    if !unix {
        let address = format!("http://{address}");
        return Ok(Channel::from_shared(address)?.connect().await?);
    }
    let path = address.strip_prefix("unix:").unwrap_or(address).to_owned();
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move {
            let stream = tokio::net::UnixStream::connect(path).await?;
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
        }
    });
    Ok(Channel::from_static("http://localhost").connect_with_connector(connector).await?)
}

fn with_headers<T>(asked: &Asked, message: T) -> Outcome<Request<T>> {
    let mut request = Request::new(message);
    for (name, value) in &asked.headers {
        let key = MetadataKey::from_bytes(name.as_bytes())?;
        request.metadata_mut().insert(key, MetadataValue::try_from(value.as_str())?);
    }
    Ok(request)
}

/// One question to the server's reflection.
async fn ask(
    channel: &Channel,
    asked: &Asked,
    question: MessageRequest,
) -> Outcome<MessageResponse> {
    let message = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let stream = tokio_stream::once(message);
    let mut client = ServerReflectionClient::new(channel.clone());
    let reply = client.server_reflection_info(with_headers(asked, stream)?).await?;
    let answer = reply.into_inner().message().await?.and_then(|answer| answer.message_response);
    match answer.ok_or("reflection gives no answer")? {
        MessageResponse::ErrorResponse(error) => Err(error.error_message.into()),
        answer => Ok(answer),
    }
}

/// Everything that a service needs, file by file.
async fn describe(channel: &Channel, asked: &Asked, service: &str) -> Outcome<DescriptorPool> {
    let mut files: Vec<FileDescriptorProto> = Vec::new();
    let mut wanted = vec![MessageRequest::FileContainingSymbol(service.to_owned())];
    while let Some(question) = wanted.pop() {
        let MessageResponse::FileDescriptorResponse(found) = ask(channel, asked, question).await?
        else {
            return Err("reflection gives no file".into());
        };
        for bytes in found.file_descriptor_proto {
            let file = FileDescriptorProto::decode(bytes.as_slice())?;
            if files.iter().any(|known| known.name == file.name) {
                continue;
            }
            wanted.extend(file.dependency.iter().cloned().map(MessageRequest::FileByFilename));
            files.push(file);
        }
    }
    let mut pool = DescriptorPool::global();
    pool.add_file_descriptor_protos(files)?;
    Ok(pool)
}

async fn call(channel: Channel, asked: &Asked, method: MethodDescriptor) -> Outcome<()> {
    let text = if asked.data.is_empty() { "{}" } else { &asked.data };
    let mut messages = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>() {
        messages.push(DynamicMessage::deserialize(method.input(), value?)?);
    }
    let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(LARGEST);
    client.ready().await?;
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let path = tonic::codegen::http::uri::PathAndQuery::try_from(path)?;
    let request = with_headers(asked, tokio_stream::iter(messages))?;
    let mut replies = client.streaming(request, path, Dynamic(method.output())).await?.into_inner();
    let options = SerializeOptions::new().skip_default_fields(true);
    while let Some(message) = replies.message().await? {
        let mut json = Vec::new();
        let mut serializer = serde_json::Serializer::pretty(&mut json);
        message.serialize_with_options(&mut serializer, &options)?;
        println!("{}", String::from_utf8(json)?);
    }
    Ok(())
}

/// Messages of which only the descriptor is known.
struct Dynamic(MessageDescriptor);

impl Codec for Dynamic {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = Write;
    type Decoder = Parse;

    fn encoder(&mut self) -> Write {
        Write
    }
    fn decoder(&mut self) -> Parse {
        Parse(self.0.clone())
    }
}

struct Write;

impl Encoder for Write {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, item: DynamicMessage, target: &mut EncodeBuf<'_>) -> Result<(), Status> {
        target.put_slice(&item.encode_to_vec());
        Ok(())
    }
}

struct Parse(MessageDescriptor);

impl Decoder for Parse {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let bytes = source.copy_to_bytes(source.remaining());
        DynamicMessage::decode(self.0.clone(), bytes)
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}
