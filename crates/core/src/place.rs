//! Where commands run.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How the place of a command is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecutionMode {
    /// On the host, as the user, without isolation.
    Local,
    /// In the workspace's container.
    Sandbox,
    /// In a lane chosen for each command and enforced by the kernel.
    Auto,
    /// In the workspace's Firecracker microVM.
    Firecracker,
    /// In the workspace's pod.
    Kubernetes,
    /// In the workspace's Daytona sandbox.
    Cloud,
}

impl ExecutionMode {
    /// The name in configuration and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Sandbox => "sandbox",
            Self::Auto => "auto",
            Self::Firecracker => "firecracker",
            Self::Kubernetes => "kubernetes",
            Self::Cloud => "cloud",
        }
    }
}

impl fmt::Display for ExecutionMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The kind of place a command ran in. Every result names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// The host itself.
    Host,
    /// A Docker container.
    Container,
    /// A microVM.
    Vm,
    /// A Kubernetes pod.
    Pod,
    /// A sandbox in Daytona's cloud.
    Cloud,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Host => "host",
            Self::Container => "container",
            Self::Vm => "vm",
            Self::Pod => "pod",
            Self::Cloud => "cloud",
        })
    }
}

/// Where auto mode sent a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// On the host; may read but not change anything.
    HostReadOnly,
    /// On the host; may change the workspace and nothing else.
    HostWorkspace,
    /// In the workspace's container.
    Sandbox,
}

impl fmt::Display for Lane {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::HostReadOnly => "host, read-only",
            Self::HostWorkspace => "host, workspace",
            Self::Sandbox => "sandbox",
        })
    }
}
