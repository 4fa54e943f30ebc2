//! Requests, compared as the engine gets them.

use serde_json::{Value, json};

use super::*;
use crate::options::tests::plain;
use crate::{Credentials, Port, Volume};

fn request(options: &DockerOptions, facts: &Facts, files: Files, quota: bool) -> Value {
    let plan = Plan {
        options,
        facts,
        number: 5,
        root: Some("/srv/my project"),
        shared: "/state/ws/shared",
        files,
        quota,
        labels: HashMap::from([("dev.stigmer.home".to_owned(), "h".to_owned())]),
        volumes: &["v".to_owned(), "v-shared".to_owned()],
    };
    serde_json::to_value(plan.body().unwrap()).unwrap()
}

fn facts() -> Facts {
    Facts { cpus: 4, ..Facts::default() }
}

fn mounted(options: &DockerOptions) -> Value {
    request(options, &facts(), Files::Mounted, false)
}

#[test]
fn a_plain_container_is_isolated() {
    let wanted = json!({
        "Image": "debian:12",
        "User": "0:0",
        "Hostname": "sandbox",
        "WorkingDir": "/",
        "Entrypoint": ["/.stigmer/sidecar", "init", "--user", "1000:1001", "--root", "/srv/my project", "--shared", "/.stigmer/shared", "--ttl", "3600"],
        "Cmd": [],
        "Env": [],
        "StopSignal": "SIGTERM",
        "Healthcheck": { "Test": ["NONE"] },
        "Labels": { "dev.stigmer.home": "h", "dev.stigmer.asked": "debian:12", "dev.stigmer.files": "mounted" },
        "HostConfig": {
            "AutoRemove": true,
            "Init": false,
            "Privileged": false,
            "CapDrop": ["ALL"],
            "CapAdd": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID", "KILL"],
            "SecurityOpt": ["no-new-privileges"],
            "Memory": 4_294_967_296_u64,
            "MemorySwap": 4_294_967_296_u64,
            "PidsLimit": 4096,
            "NetworkMode": "bridge",
            "LogConfig": { "Type": "json-file", "Config": { "max-size": "1m", "max-file": "1" } },
            "Mounts": [
                { "Type": "bind", "Source": "/usr/lib/stigmer/sidecar", "Target": "/.stigmer/sidecar", "ReadOnly": true },
                { "Type": "bind", "Source": "/state/ws/shared", "Target": "/.stigmer/shared", "ReadOnly": false },
                { "Type": "bind", "Source": "/srv/my project", "Target": "/srv/my project", "ReadOnly": false },
            ],
        },
    });
    assert_eq!(mounted(&plain()), wanted);
}

#[test]
fn no_container_has_the_engines_socket() {
    assert!(!mounted(&plain()).to_string().contains("docker.sock"));
}

#[test]
fn what_is_asked_for_is_in_the_request() {
    let mut options = plain();
    options.ttl = None;
    options.runtime = Some("runsc".to_owned());
    options.network = Network::Named("team".to_owned());
    options.host_gateway = true;
    options.memory_reservation = Some(1 << 20);
    let pairs = |all: &[(&str, &str)]| {
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    options.environment = pairs(&[("A", "b c"), ("https_proxy", "mine")]);
    options.proxy =
        pairs(&[("HTTP_PROXY", "http://u:p@p:1"), ("HTTPS_PROXY", "p:3"), ("RSYNC_PROXY", "p:2")]);
    options.ca_bundle = Some("/etc/ca.pem".into());
    options.credentials = vec![Credentials::Aws, Credentials::Kube];
    options.volumes = vec![
        Volume { source: "/data".to_owned(), target: "/mnt/data".to_owned(), read_only: true },
        Volume { source: "cache".to_owned(), target: "/cache".to_owned(), read_only: false },
    ];
    let port = |host, container| Port { address: [127, 0, 0, 1].into(), host, container };
    options.ports = vec![port(8080, 80), port(0, 80), port(0, 81)];
    let whole = mounted(&options);
    let host = &whole["HostConfig"];
    let words: Vec<&str> =
        whole["Entrypoint"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let more = "--ttl 0 --ca-bundle /.stigmer/ca-bundle.pem --mounted /mnt/data --volume /cache";
    assert_eq!(words[words.len() - 8..].join(" "), more);
    let variables = [
        "A=b c",
        "https_proxy=mine",
        "HTTP_PROXY=http://u:p@p:1",
        "HTTPS_PROXY=p:3",
        "RSYNC_PROXY=p:2",
        "http_proxy=http://u:p@p:1",
    ];
    assert_eq!(
        whole["Env"],
        json!(variables),
        "what is declared comes first, in each case its own"
    );
    assert_eq!(host["Runtime"], "runsc");
    assert_eq!(host["NetworkMode"], "team");
    assert_eq!(host["ExtraHosts"], json!(["host.docker.internal:host-gateway"]));
    assert_eq!(host["MemoryReservation"], 1 << 20);
    assert_eq!(
        host["PortBindings"],
        json!({
            "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "8080" }, { "HostIp": "127.0.0.1", "HostPort": "0" }],
            "81/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "0" }],
        })
    );
    let mounts = host["Mounts"].as_array().unwrap();
    assert_eq!(
        mounts[3..],
        [
            json!({ "Type": "bind", "Source": "/etc/ca.pem", "Target": "/.stigmer/ca-bundle.pem", "ReadOnly": true }),
            json!({ "Type": "bind", "Source": "/home/u/.aws", "Target": "/home/sandbox/.aws", "ReadOnly": true }),
            json!({ "Type": "bind", "Source": "/home/u/.kube", "Target": "/home/sandbox/.kube", "ReadOnly": true }),
            json!({ "Type": "bind", "Source": "/data", "Target": "/mnt/data", "ReadOnly": true }),
            json!({ "Type": "volume", "Source": "cache", "Target": "/cache", "ReadOnly": false }),
        ]
    );
}

#[test]
fn processors_are_a_set_of_those_that_are_there() {
    for (all, wanted, set) in [
        (4, 1, json!("1")),
        (4, 2, json!("1,2")),
        (3, 2, json!("0,2")),
        (4, 4, Value::Null),
        (2, 8, Value::Null),
    ] {
        let mut options = plain();
        options.cpus = Some(wanted);
        let facts = Facts { cpus: all, ..Facts::default() };
        let body = request(&options, &facts, Files::Mounted, false);
        assert_eq!(body["HostConfig"]["CpusetCpus"], set, "{wanted} of {all}");
    }
}

#[test]
fn other_engines_get_what_they_need() {
    let rootless = Facts { rootless: true, ..facts() };
    let body = request(&plain(), &rootless, Files::Mounted, false);
    assert_eq!(body["Entrypoint"][3], "0:0");
    let facts = Facts { user_namespaces: true, selinux: true, ..facts() };
    let body = request(&plain(), &facts, Files::Mounted, false);
    assert_eq!(body["HostConfig"]["UsernsMode"], "host");
    assert_eq!(body["HostConfig"]["SecurityOpt"], json!(["no-new-privileges", "label=disable"]));
}

#[test]
fn the_hosts_network_has_the_hosts_name() {
    let mut options = plain();
    options.network = Network::Host;
    let body = mounted(&options);
    assert_eq!(body["HostConfig"]["NetworkMode"], "host");
    assert_eq!(body["Hostname"], Value::Null);
}

#[test]
fn a_disk_limit_is_asked_for_where_it_may_be_had() {
    let mut options = plain();
    options.disk = Some(1 << 30);
    let with = request(&options, &facts(), Files::Mounted, true);
    assert_eq!(with["HostConfig"]["StorageOpt"], json!({ "size": "1073741824" }));
    assert_eq!(mounted(&options)["HostConfig"]["StorageOpt"], Value::Null);
}

#[test]
fn files_that_are_a_copy_are_in_volumes_and_nothing_of_ours_is_mounted() {
    let body = request(&plain(), &facts(), Files::Copied, false);
    let volume = |name, target| {
        json!({
            "Type": "volume", "Source": name, "Target": target,
            "VolumeOptions": { "NoCopy": true, "Labels": { "dev.stigmer.home": "h" } },
        })
    };
    let wanted = json!([volume("v", "/srv/my project"), volume("v-shared", "/.stigmer/shared")]);
    assert_eq!(body["HostConfig"]["Mounts"], wanted);
    assert_eq!(body["Labels"]["dev.stigmer.files"], "copied");
}

#[test]
fn what_cannot_be_said_is_refused() {
    let mut options = plain();
    options.memory = u64::MAX;
    let (facts, volumes) = (Facts::default(), [const { String::new() }; 2]);
    let plan = |options| Plan {
        options,
        facts: &facts,
        number: 1,
        root: Some("/w"),
        shared: "/s",
        files: Files::Mounted,
        quota: false,
        labels: HashMap::new(),
        volumes: &volumes,
    };
    assert_eq!(plan(&options).body().unwrap_err().code, ErrorCode::BadConfiguration);
    let mut options = plain();
    (options.user_home, options.credentials) = (None, vec![Credentials::Aws]);
    assert_eq!(plan(&options).body().unwrap_err().code, ErrorCode::BadConfiguration);
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(b"/w\xff"));
    assert_eq!(text(path).unwrap_err().code, ErrorCode::Unsupported);
}

#[test]
fn a_container_that_waits_has_nothing_of_a_workspace() {
    let (options, facts) = (plain(), facts());
    let plan = Plan {
        options: &options,
        facts: &facts,
        number: 5,
        root: None,
        shared: "/state/pool/0/run",
        files: Files::Mounted,
        quota: false,
        labels: HashMap::new(),
        volumes: &[String::new(), String::new()],
    };
    let request = serde_json::to_value(plan.body().unwrap()).unwrap();
    let mut wanted = mounted(&options);
    // All else is as in a container of a workspace.
    wanted["Labels"] = json!({ "dev.stigmer.asked": "debian:12", "dev.stigmer.files": "mounted" });
    wanted["Entrypoint"][4] = json!("--wait");
    wanted["Entrypoint"][5] = json!("/.stigmer/pool");
    wanted["HostConfig"]["Mounts"].as_array_mut().unwrap().truncate(2);
    wanted["HostConfig"]["Mounts"][1]["Source"] = json!("/state/pool/0/run");
    wanted["HostConfig"]["Mounts"][1]["Target"] = json!("/.stigmer/pool");
    assert_eq!(request, wanted);
}
