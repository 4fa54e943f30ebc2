//! Texts of real engines.

use super::*;

const ASKED: Asked<'static> = Asked {
    engine: "unix:///var/run/docker.sock",
    what: "create the container",
    image: Some("registry.example/team/image:1"),
};

fn status(status: u16, text: &str) -> Said {
    Said::Status(status, text.to_owned())
}

#[test]
fn every_known_text_has_its_kind() {
    for (code, text, kind) in [
        // 20.10
        (404, "No such image: debian:12", Kind::ImageMissing),
        (404, "No such container: 0123456789ab", Kind::ContainerGone),
        (404, "No such exec instance: 0123", Kind::ContainerGone),
        (404, "network sandbox not found", Kind::NetworkMissing),
        (
            404,
            "pull access denied for nobody/nothing, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
            Kind::PullDenied,
        ),
        (
            404,
            "manifest for 127.0.0.1:5000/x:latest not found: manifest unknown: manifest unknown",
            Kind::ImageUnknown,
        ),
        (
            500,
            "Head \"http://127.0.0.1:5000/v2/x/manifests/latest\": no basic auth credentials",
            Kind::PullDenied,
        ),
        (
            500,
            "Get https://registry-1.docker.io/v2/library/x/manifests/latest: unauthorized: incorrect username or password",
            Kind::PullDenied,
        ),
        (500, "toomanyrequests: You have reached your pull rate limit.", Kind::PullDenied),
        (
            500,
            "Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io on 10.0.0.2:53: no such host",
            Kind::RegistryUnreachable,
        ),
        (
            500,
            "Get \"http://127.0.0.1:5999/v2/\": dial tcp 127.0.0.1:5999: connect: connection refused",
            Kind::RegistryUnreachable,
        ),
        (
            500,
            "Get \"https://registry-1.docker.io/v2/\": x509: certificate signed by unknown authority",
            Kind::RegistryUnreachable,
        ),
        (
            500,
            "Get \"https://registry-1.docker.io/v2/\": net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)",
            Kind::RegistryUnreachable,
        ),
        (
            500,
            "Get \"https://10.0.0.1:5000/v2/\": http: server gave HTTP response to HTTPS client",
            Kind::RegistryUnreachable,
        ),
        (
            409,
            "Conflict. The container name \"/stigmer-x\" is already in use by container \"0123\". You have to remove (or rename) that container to be able to reuse that name.",
            Kind::NameTaken,
        ),
        (409, "removal of container 0123 is already in progress", Kind::BeingRemoved),
        (409, "container is marked for removal and cannot be started", Kind::BeingRemoved),
        (409, "Container 0123 is not running", Kind::ContainerNotRunning),
        (409, "Container 0123 is paused, unpause the container before exec", Kind::ContainerPaused),
        (409, "Container 0123 is already paused", Kind::ContainerPaused),
        (500, "Container 0123 is not paused", Kind::ContainerNotPaused),
        (400, "Requested CPUs are not available - requested 0-63, available: 0-1", Kind::Cpus),
        (400, "Invalid value x for cpuset cpus", Kind::Cpus),
        (400, "Minimum memory limit allowed is 6MB", Kind::Memory),
        (
            400,
            "Minimum memory limit can not be less than memory reservation limit, see usage",
            Kind::Memory,
        ),
        (400, "Unknown runtime specified runsc", Kind::Runtime),
        (
            500,
            "driver failed programming external connectivity on endpoint x (0123): Bind for 127.0.0.1:8080 failed: port is already allocated",
            Kind::PortTaken,
        ),
        (
            500,
            "driver failed programming external connectivity on endpoint x (0123): Error starting userland proxy: listen tcp4 127.0.0.1:8080: bind: address already in use",
            Kind::PortTaken,
        ),
        (
            400,
            "invalid mount config for type \"bind\": bind source path does not exist: /nowhere",
            Kind::MountMissing,
        ),
        (
            500,
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
            Kind::Quota,
        ),
        (500, "Failed to limit qgroup for &{}: disk quota exceeded", Kind::Quota),
        (500, "mkdir /var/lib/docker/overlay2/0123-init: no space left on device", Kind::NoSpace),
        (
            400,
            "client version 1.53 is too new. Maximum supported API version is 1.41",
            Kind::TooOld,
        ),
        (
            400,
            "OCI runtime create failed: container_linux.go:380: starting container process caused: exec: \"/x\": permission denied: unknown",
            Kind::CannotStart,
        ),
        // 24 and newer
        (400, "unknown or invalid runtime name: runsc", Kind::Runtime),
        (
            400,
            "client version 1.24 is too old. Minimum supported API version is 1.44, please upgrade your client to a newer version",
            Kind::TooOld,
        ),
        (
            500,
            "failed to set up container networking: driver failed programming external connectivity on endpoint x (0123): Bind for 127.0.0.1:8080 failed: port is already allocated",
            Kind::PortTaken,
        ),
        (
            400,
            "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process",
            Kind::CannotStart,
        ),
        (
            404,
            "failed to resolve reference \"docker.io/library/x:1\": docker.io/library/x:1: not found",
            Kind::ImageUnknown,
        ),
        (
            404,
            "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
            Kind::PullDenied,
        ),
        (
            404,
            "no matching manifest for linux/riscv64 in the manifest list entries",
            Kind::ImageUnknown,
        ),
        (
            404,
            "image with reference x was found but does not match the specified platform: wanted linux/arm64, actual: linux/amd64",
            Kind::ImageUnknown,
        ),
        (400, "invalid reference format", Kind::ImageUnknown),
        (404, "page not found", Kind::TooOld),
        (500, "something new", Kind::Other),
    ] {
        assert_eq!(classify(&status(code, text)), kind, "{code} {text}");
    }
    let full = "failed to register layer: Error processing tar file(exit status 1): write /x: no space left on device";
    for (text, kind) in [
        (full, Kind::NoSpace),
        ("unauthorized: authentication required", Kind::PullDenied),
        ("docker.io/library/x:1: not found", Kind::ImageUnknown),
        ("unexpected EOF", Kind::Other),
    ] {
        assert_eq!(classify(&Said::Stream(text.to_owned())), kind, "{text}");
    }
}

#[test]
fn an_engine_that_does_not_answer_is_told_apart() {
    let io = |kind| Said::Io(kind, "connect".to_owned());
    assert_eq!(classify(&io(io::ErrorKind::NotFound)), Kind::NotRunning);
    assert_eq!(classify(&io(io::ErrorKind::ConnectionRefused)), Kind::NotRunning);
    assert_eq!(classify(&io(io::ErrorKind::UnexpectedEof)), Kind::NotRunning);
    assert_eq!(classify(&io(io::ErrorKind::PermissionDenied)), Kind::NoPermission);
    assert_eq!(classify(&Said::Late(10)), Kind::Hung);
}

#[test]
fn what_is_told_names_the_thing_and_the_next_step() {
    for (said, code, message, hint) in [
        (
            Said::Io(io::ErrorKind::NotFound, "no such file".into()),
            ErrorCode::Unavailable,
            "unix:///var/run/docker.sock is not running",
            "systemctl start docker",
        ),
        (
            Said::Io(io::ErrorKind::PermissionDenied, "denied".into()),
            ErrorCode::PermissionDenied,
            "may not be used",
            "docker group",
        ),
        (
            Said::Late(30_000),
            ErrorCode::DeadlineExceeded,
            "cannot create the container: the Docker engine at unix:///var/run/docker.sock did not answer within 30000 ms",
            "docker info",
        ),
        (
            status(404, "No such image: x"),
            ErrorCode::NotFound,
            "registry.example/team/image:1 is not on this machine",
            "`stigmer image build`, or get it with `docker pull registry.example/team/image:1`",
        ),
        (
            status(500, "unauthorized"),
            ErrorCode::PermissionDenied,
            "the registry refuses: unauthorized",
            "docker login registry.example`",
        ),
        (
            status(500, "no space left on device"),
            ErrorCode::DiskFull,
            "disk is full",
            "docker system df",
        ),
        (
            status(409, "already in use by container"),
            ErrorCode::Busy,
            "create the container",
            "workspace recover",
        ),
        (
            status(400, "Requested CPUs are not available"),
            ErrorCode::BadConfiguration,
            "CPUs",
            "fewer",
        ),
        (
            status(400, "Unknown runtime specified x"),
            ErrorCode::BadConfiguration,
            "runtime",
            "docker info",
        ),
        (status(500, "port is already allocated"), ErrorCode::Busy, "port", "another port"),
        (
            status(404, "network x not found"),
            ErrorCode::BadConfiguration,
            "network x",
            "docker network ls",
        ),
        (
            status(404, " "),
            ErrorCode::Io,
            "what is at unix:///var/run/docker.sock answers with HTTP status 404",
            "DOCKER_HOST",
        ),
        (
            Said::Garbled(String::new()),
            ErrorCode::Io,
            "unix:///var/run/docker.sock answers nothing that can be understood",
            "DOCKER_HOST",
        ),
    ] {
        let error = explain(classify(&said), &said, &ASKED);
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(message), "{error}");
        assert!(error.hint.as_deref().is_some_and(|text| text.contains(hint)), "{error:?}");
        assert!(error.details.contains_key("cause") && error.details.contains_key("engine"));
    }
}

#[test]
fn an_engine_of_another_machine_that_hangs_is_named_by_somebody() {
    let asked = Asked { engine: "tcp://10.0.0.1:2375", what: "reach the engine", image: None };
    let error = explain(Kind::Hung, &Said::Late(30_000), &asked);
    assert!(error.message.contains("tcp://10.0.0.1:2375 did not answer within 30000 ms"));
    assert!(error.hint.as_ref().unwrap().contains("DOCKER_HOST"), "{error:?}");
}

#[test]
fn a_long_text_is_cut_and_is_one_line() {
    let said = status(500, &"é\n".repeat(10_000));
    let error = explain(classify(&said), &said, &ASKED);
    assert!(error.message.len() < 3 * MOST_TEXT && !error.message.contains('\n'), "{error}");
}
