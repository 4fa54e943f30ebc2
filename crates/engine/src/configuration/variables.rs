//! The one table of all settings.
//!
//! Whatever names a setting (the parser, the file, `config list`, the documentation) reads it from
//! here, so that a setting cannot exist in one place and not in another.

use super::parse::Kind;

/// One row of the table.
#[derive(Debug)]
pub struct Setting {
    /// Which setting.
    pub key: Key,
    /// Its name in the configuration file and for `stigmer config`.
    pub name: &'static str,
    /// The environment variable that sets it.
    pub variable: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// The value when nothing sets it, as one would write it.
    pub default: Option<&'static str>,
    /// One line that says what it does.
    pub doc: &'static str,
}

macro_rules! settings {
    ($($key:ident $name:literal $variable:literal $kind:expr, $default:expr, $doc:literal;)+) => {
        /// The name of a setting.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Key {
            $(#[doc = $doc] $key,)+
        }

        /// All settings, in the order of [`Key`].
        pub static SETTINGS: &[Setting] = &[
            $(Setting {
                key: Key::$key,
                name: $name,
                variable: $variable,
                kind: $kind,
                default: $default,
                doc: $doc,
            },)+
        ];

        impl Key {
            /// All keys, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$key,)+];
        }
    };
}

/// The largest port.
const MAX_PORT: u64 = 65_535;

settings! {
    Home "home" "STIGMER_HOME"
        Kind::AbsolutePath, Some("~/.stigmer"),
        "Directory of configuration and state; cannot be set in the file, which lies in it";
    ExecutionMode "execution_mode" "STIGMER_EXECUTION_MODE"
        Kind::Choice(&["local", "sandbox", "auto"]), Some("local"),
        "Where commands run: on the host, in the workspace's container, or in a lane for each";
    Timeout "timeout" "STIGMER_TIMEOUT"
        Kind::DurationOrNone, Some("120s"),
        "How long a command may run; 0 is without end";
    OutputCap "output_cap" "STIGMER_OUTPUT_CAP"
        Kind::Size { least: stigmer_core::limits::MIN_OUTPUT_CAP }, Some("256MiB"),
        "How much of one command's output is kept on disk";
    OutputRetention "output_retention" "STIGMER_OUTPUT_RETENTION"
        Kind::Duration, Some("7d"),
        "How long a finished command's record and output are kept";
    ClientGrace "client_grace" "STIGMER_CLIENT_GRACE"
        Kind::Duration, Some("60s"),
        "How long a foreground command waits for a client that vanished";
    TerminationGrace "termination_grace" "STIGMER_TERMINATION_GRACE"
        Kind::Duration, Some("2s"),
        "Time between TERM and KILL when a command is ended";
    SandboxImage "sandbox_image" "STIGMER_SANDBOX_IMAGE"
        Kind::Image, Some("ghcr.io/stigmer/agent-sandbox-basic:latest"),
        "Image of sandbox containers";
    SandboxAutoPull "sandbox_auto_pull" "STIGMER_SANDBOX_AUTO_PULL"
        Kind::Boolean, Some("true"),
        "Pull the sandbox image when it is missing";
    SandboxCleanup "sandbox_cleanup" "STIGMER_SANDBOX_CLEANUP"
        Kind::Boolean, Some("true"),
        "Remove sandbox containers that are no longer used";
    SandboxTtl "sandbox_ttl" "STIGMER_SANDBOX_TTL"
        Kind::Duration, Some("3600s"),
        "How long a sandbox lives after its last use";
    SandboxNetwork "sandbox_network" "STIGMER_SANDBOX_NETWORK"
        Kind::Network, Some("bridge"),
        "Network of sandbox containers";
    SandboxMemory "sandbox_memory" "STIGMER_SANDBOX_MEMORY"
        // The engine takes no less.
        Kind::Size { least: 6 << 20 }, Some("4GiB"),
        "Memory of a sandbox container, swap included";
    SandboxMemoryReservation "sandbox_memory_reservation" "STIGMER_SANDBOX_MEMORY_RESERVATION"
        Kind::Size { least: 6 << 20 }, None,
        "Memory that a sandbox container is given when memory is short";
    SandboxCpus "sandbox_cpus" "STIGMER_SANDBOX_CPUS"
        // As many as Linux can be built for (CONFIG_NR_CPUS).
        Kind::Count { least: 1, most: 8192 }, None,
        "Processors of a sandbox container; unset is all";
    SandboxPids "sandbox_pids" "STIGMER_SANDBOX_PIDS"
        // Fewer than the sidecar itself and one command need are none; more than Linux's own limit
        // (PID_MAX_LIMIT) is none.
        Kind::Count { least: 32, most: 1 << 22 }, Some("4096"),
        "Processes and threads of a sandbox container";
    SandboxDisk "sandbox_disk" "STIGMER_SANDBOX_DISK"
        Kind::Size { least: 16 << 20 }, None,
        "Bytes that a sandbox container may write outside its volumes; unset is what there is";
    SandboxVolumes "sandbox_volumes" "STIGMER_SANDBOX_VOLUMES"
        Kind::Volumes, None,
        "Further directories of sandbox containers";
    SandboxEnvironment "sandbox_environment" "STIGMER_SANDBOX_ENVIRONMENT"
        Kind::Variables, None,
        "Variables of every command in sandbox containers; the caller's own do not get in";
    SandboxPorts "sandbox_ports" "STIGMER_SANDBOX_PORTS"
        Kind::Ports, None,
        "Ports of sandbox containers that this machine listens on, as docker run --publish has it";
    SandboxHostGateway "sandbox_host_gateway" "STIGMER_SANDBOX_HOST_GATEWAY"
        Kind::Boolean, Some("false"),
        "Whether host.docker.internal names this machine in sandbox containers";
    SandboxCredentials "sandbox_credentials" "STIGMER_SANDBOX_CREDENTIALS"
        Kind::Credentials, None,
        "Credentials of yours that commands in sandbox containers may read";
    SandboxCaBundle "sandbox_ca_bundle" "STIGMER_SANDBOX_CA_BUNDLE"
        Kind::AbsolutePath, None,
        "File of certificate authorities that sandbox containers trust";
    SandboxProxy "sandbox_proxy" "STIGMER_SANDBOX_PROXY"
        Kind::Proxy, Some("none"),
        "Where sandbox containers have their proxy settings from";
    SandboxRuntime "sandbox_runtime" "STIGMER_SANDBOX_RUNTIME"
        Kind::Name, None,
        "The container engine's runtime, such as runsc; unset is its default";
    SandboxPool "sandbox_pool" "STIGMER_SANDBOX_POOL"
        // Each takes a container's memory whether it is used or not.
        Kind::Count { least: 0, most: 64 }, Some("0"),
        "How many sandbox containers wait for a workspace";
    SandboxEngine "sandbox_engine" "STIGMER_SANDBOX_ENGINE"
        Kind::Engine, None,
        "Address of the container engine; unset is DOCKER_HOST, else the usual socket";
    Sidecar "sidecar" "STIGMER_SIDECAR"
        Kind::AbsolutePath, None,
        "The static program that runs in sandbox containers; unset is beside stigmer itself";
    ToolRoots "tool_roots" "STIGMER_TOOL_ROOTS"
        Kind::Directories, None,
        "Further directories of tools that commands may execute in auto mode's lanes on the host";
    Mode "mode" "MODE"
        Kind::Choice(&["local", "cloud"]), None,
        "Whether work is done on this machine or in Daytona's cloud; unset is local";
    AgentMode "agent_mode" "AGENT_MODE"
        Kind::Choice(&["local", "firecracker"]), None,
        "Whether the agent's commands run in Firecracker microVMs; unset is local";
    SandboxType "sandbox_type" "SANDBOX_TYPE"
        Kind::Choice(&["filesystem", "daytona"]), None,
        "Whether workspaces are directories here or Daytona sandboxes; unset follows the mode";
    SandboxRootDir "sandbox_root_dir" "SANDBOX_ROOT_DIR"
        Kind::Path, Some("./workspace"),
        "Root of workspaces for the runner; the CLI works in the current directory";
    WorkspaceDir "workspace_dir" "WORKSPACE_DIR"
        Kind::Path, None,
        "Directory to work in where --workspace names none; unset is the current directory";
    BackendEndpoint "backend_endpoint" "STIGMER_BACKEND_ENDPOINT"
        Kind::HostPort, Some("localhost:50051"),
        "Address of the stigmer daemon";
    ApiKey "api_key" "STIGMER_API_KEY"
        Kind::Secret, None,
        "Token for the daemon; dummy-local-key counts as unset";
    Log "log" "STIGMER_LOG"
        Kind::LogLevels, Some("info"),
        "What the daemon logs: a level, or levels for parts of it";
    ServerIdleLimit "server_idle_limit" "STIGMER_SERVER_IDLE_LIMIT"
        Kind::DurationOrNone, Some("0s"),
        "How long the daemon goes on when nobody uses it; 0 is for ever";
    DaytonaApiKey "daytona_api_key" "DAYTONA_API_KEY"
        Kind::Secret, None,
        "Key for Daytona's cloud";
    DaytonaApiUrl "daytona_api_url" "DAYTONA_API_URL"
        Kind::Url, Some("https://app.daytona.io/api"),
        "Address of Daytona's cloud";
    RedisHost "redis_host" "REDIS_HOST"
        Kind::Host, None,
        "Redis server (cloud mode only)";
    RedisPort "redis_port" "REDIS_PORT"
        Kind::Count { least: 1, most: MAX_PORT }, Some("6379"),
        "Port of the Redis server (cloud mode only)";
    RedisPassword "redis_password" "REDIS_PASSWORD"
        Kind::Secret, None,
        "Password of the Redis server (cloud mode only)";
    FirecrackerEnabled "firecracker_enabled" "FIRECRACKER_ENABLED"
        Kind::Boolean, None,
        "Whether Firecracker microVMs may be used; true selects them unless another mode is named";
    VmImageRegistry "vm_image_registry" "VM_IMAGE_REGISTRY"
        Kind::Registry, None,
        "Registry that holds the microVMs' images";
    VmImageTag "vm_image_tag" "VM_IMAGE_TAG"
        Kind::Tag, Some("latest"),
        "Tag of the microVMs' images";
    VmCpuCount "vm_cpu_count" "VM_CPU_COUNT"
        // Firecracker's own bound (MAX_SUPPORTED_VCPUS).
        Kind::Count { least: 1, most: 32 }, Some("1"),
        "Processors of a microVM";
    VmMemorySizeMb "vm_memory_size_mb" "VM_MEMORY_SIZE_MB"
        // Below 64 MiB no guest kernel starts; above 1 TiB it is a slip of the keyboard.
        Kind::Count { least: 64, most: 1 << 20 }, Some("1024"),
        "Memory of a microVM in MiB";
    VmCpuLimit "vm_cpu_limit" "VM_CPU_LIMIT"
        Kind::CpuQuantity, Some("1000m"),
        "Processor limit of a pod, as Kubernetes writes it";
    VmMemoryLimit "vm_memory_limit" "VM_MEMORY_LIMIT"
        Kind::BytesQuantity, Some("2Gi"),
        "Memory limit of a pod, as Kubernetes writes it";
    VmStorageLimit "vm_storage_limit" "VM_STORAGE_LIMIT"
        Kind::BytesQuantity, Some("10Gi"),
        "Storage limit of a pod, as Kubernetes writes it";
    KubernetesNamespace "kubernetes_namespace" "KUBERNETES_NAMESPACE"
        Kind::Label, Some("shadow"),
        "Namespace of the pods";
    K8sServiceAccountToken "k8s_service_account_token" "K8S_SERVICE_ACCOUNT_TOKEN"
        Kind::Secret, None,
        "Token for the Kubernetes API";
}

/// How many edits away a name may be to be suggested: a transposition or two slips.
const NEAR: usize = 2;

impl Key {
    /// The setting's row in the table.
    pub fn setting(self) -> &'static Setting {
        &SETTINGS[self as usize]
    }

    /// The setting of this name, as written in the file.
    pub fn named(name: &str) -> Option<Self> {
        SETTINGS.iter().find(|setting| setting.name == name).map(|setting| setting.key)
    }

    /// The setting that this environment variable sets.
    pub fn of_variable(variable: &str) -> Option<Self> {
        SETTINGS.iter().find(|setting| setting.variable == variable).map(|setting| setting.key)
    }

    /// Whether its value must not be shown.
    pub fn is_secret(self) -> bool {
        self.setting().kind.is_secret()
    }

    /// Names that somebody who wrote `wrong` may have meant, the nearest first: names of settings,
    /// and their names for variables given as such.
    pub fn near(wrong: &str) -> Vec<&'static str> {
        let wrong = wrong.to_ascii_lowercase().replace('-', "_");
        let mut found: Vec<(usize, &'static str)> = SETTINGS
            .iter()
            .filter_map(|setting| {
                let variable = setting.variable.to_ascii_lowercase();
                let by_name = distance(&wrong, setting.name);
                let away = by_name.min(distance(&wrong, &variable));
                let part = wrong.len() > 3 && setting.name.contains(&wrong);
                (away <= NEAR || part).then_some((away, setting.name))
            })
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, name)| name).collect()
    }

    /// The variable that somebody who wrote `wrong` may have meant.
    pub fn near_variable(wrong: &str) -> Option<&'static str> {
        let near = SETTINGS
            .iter()
            .map(|setting| (distance(wrong, setting.variable), setting.variable))
            .min()
            .filter(|(away, _)| *away <= NEAR)
            .map(|(_, variable)| variable);
        // `STIGMER_MODE` is not `STIGMER_HOME`: not all variables have the prefix.
        let bare = wrong.strip_prefix("STIGMER_").and_then(Self::of_variable);
        let bare = bare.map(|key| key.setting().variable);
        // `STIGMER_EXEC_MODE`: no slip of the keyboard, and yet there is but one that is meant.
        let mode = || says_mode(wrong).then_some(Self::ExecutionMode.setting().variable);
        bare.or(near).or_else(mode)
    }
}

/// Whether a variable's name is one that says where commands run.
pub fn says_mode(name: &str) -> bool {
    name.replace("MODEL", "").contains("MODE")
}

/// How many letters must be put in, taken out or changed to make one word of the other.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in right.iter().enumerate() {
            let change = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_stands_where_its_key_says_and_names_are_unique() {
        for (index, setting) in SETTINGS.iter().enumerate() {
            assert_eq!(setting.key as usize, index);
            assert_eq!(Key::named(setting.name), Some(setting.key), "{}", setting.name);
            assert_eq!(Key::of_variable(setting.variable), Some(setting.key));
            assert!(!setting.doc.ends_with('.') && setting.doc.len() < 100, "{}", setting.doc);
        }
        assert_eq!(SETTINGS.len(), Key::ALL.len());
    }

    #[test]
    fn every_default_is_valid_and_no_secret_has_one() {
        for setting in SETTINGS {
            if setting.key == Key::Home {
                continue; // written with `~`, which only the default may have
            }
            if let Some(default) = setting.default {
                assert!(!setting.key.is_secret());
                setting.kind.parse(default).unwrap_or_else(|error| {
                    panic!("{}: {error:?}", setting.name);
                });
            }
        }
    }

    #[test]
    fn the_documented_variables_are_all_here() {
        // DESIGN 7, written out once more by hand.
        let documented = "STIGMER_EXECUTION_MODE STIGMER_SANDBOX_IMAGE STIGMER_SANDBOX_AUTO_PULL \
            STIGMER_SANDBOX_CLEANUP STIGMER_SANDBOX_TTL MODE AGENT_MODE SANDBOX_TYPE \
            SANDBOX_ROOT_DIR WORKSPACE_DIR STIGMER_BACKEND_ENDPOINT STIGMER_API_KEY \
            DAYTONA_API_KEY DAYTONA_API_URL REDIS_HOST REDIS_PORT REDIS_PASSWORD \
            FIRECRACKER_ENABLED VM_IMAGE_REGISTRY VM_IMAGE_TAG VM_CPU_COUNT VM_MEMORY_SIZE_MB \
            VM_CPU_LIMIT VM_MEMORY_LIMIT VM_STORAGE_LIMIT KUBERNETES_NAMESPACE \
            K8S_SERVICE_ACCOUNT_TOKEN STIGMER_HOME STIGMER_TIMEOUT STIGMER_OUTPUT_CAP \
            STIGMER_OUTPUT_RETENTION STIGMER_CLIENT_GRACE STIGMER_TERMINATION_GRACE STIGMER_LOG \
            STIGMER_SANDBOX_NETWORK STIGMER_SANDBOX_MEMORY STIGMER_SANDBOX_MEMORY_RESERVATION \
            STIGMER_SANDBOX_CPUS STIGMER_SANDBOX_PIDS STIGMER_SANDBOX_DISK \
            STIGMER_SANDBOX_VOLUMES STIGMER_SANDBOX_ENVIRONMENT STIGMER_SANDBOX_PORTS \
            STIGMER_SANDBOX_HOST_GATEWAY STIGMER_SANDBOX_CREDENTIALS STIGMER_SANDBOX_CA_BUNDLE \
            STIGMER_SANDBOX_PROXY STIGMER_SANDBOX_RUNTIME STIGMER_SANDBOX_POOL \
            STIGMER_SANDBOX_ENGINE STIGMER_SIDECAR STIGMER_SERVER_IDLE_LIMIT \
            STIGMER_TOOL_ROOTS";
        let mut count = 0;
        for variable in documented.split_whitespace() {
            assert!(Key::of_variable(variable).is_some(), "{variable}");
            count += 1;
        }
        assert_eq!(count, SETTINGS.len());
    }

    #[test]
    fn a_slip_of_the_keyboard_finds_what_was_meant() {
        assert_eq!(Key::near("execution_mod"), ["execution_mode"]);
        assert_eq!(Key::near("execution-mode"), ["execution_mode"]);
        assert_eq!(Key::near("STIGMER_TIMEOUT"), ["timeout"]);
        assert!(Key::near("image").contains(&"sandbox_image"));
        assert!(Key::near("zzzzzzzz").is_empty());
        assert_eq!(Key::near_variable("STIGMER_EXECUTON_MODE"), Some("STIGMER_EXECUTION_MODE"));
        assert_eq!(Key::near_variable("STIGMER_EXEC_MODE"), Some("STIGMER_EXECUTION_MODE"));
        assert_eq!(Key::near_variable("STIGMER_AGENT_MODE"), Some("AGENT_MODE"));
        assert_eq!(Key::near_variable("STIGMER_MODE"), Some("MODE"));
        assert_eq!(Key::near_variable("STIGMER_SOMETHING_ELSE"), None);
        assert_eq!(Key::near_variable("STIGMER_LANGUAGE_MODEL"), None);
    }

    #[test]
    fn distance_is_levenshtein() {
        for (left, right, away) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("abc", "abc", 0)]
        {
            assert_eq!(distance(left, right), away, "{left} {right}");
        }
    }
}
