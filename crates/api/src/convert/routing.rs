//! What auto mode made of a command.

use stigmer_core::{Denial, Denied, Enforced, Lane, Routing};

use super::bytes::list;
use super::{Fault, known};
use crate::wire;

impl From<Routing> for wire::Routing {
    fn from(routing: Routing) -> Self {
        let Routing { lane, rule, token, reason, enforced, fell_over, dropped_variables } = routing;
        Self {
            lane: wire::Lane::from(lane).into(),
            rule,
            token,
            reason,
            enforced: enforced.map(Into::into),
            fell_over: fell_over.map(Into::into),
            dropped_variables,
        }
    }
}
impl TryFrom<wire::Routing> for Routing {
    type Error = Fault;
    fn try_from(routing: wire::Routing) -> Result<Self, Fault> {
        Ok(Self {
            lane: known::<wire::Lane, Lane>("lane", routing.lane)?,
            rule: routing.rule,
            token: routing.token,
            reason: routing.reason,
            enforced: routing.enforced.map(Into::into),
            fell_over: routing.fell_over.map(Into::into),
            dropped_variables: routing.dropped_variables,
        })
    }
}

impl From<Enforced> for wire::Enforced {
    fn from(enforced: Enforced) -> Self {
        let Enforced { landlock, namespaces, scoped_signals } = enforced;
        Self { landlock, namespaces, scoped_signals }
    }
}
impl From<wire::Enforced> for Enforced {
    fn from(enforced: wire::Enforced) -> Self {
        let wire::Enforced { landlock, namespaces, scoped_signals } = enforced;
        Self { landlock, namespaces, scoped_signals }
    }
}

impl From<Denial> for wire::Denial {
    fn from(denial: Denial) -> Self {
        let Denial { call, path, errno, probe } = denial;
        Self { call, path: path.map(Into::into), errno, probe }
    }
}
impl From<wire::Denial> for Denial {
    fn from(denial: wire::Denial) -> Self {
        let wire::Denial { call, path, errno, probe } = denial;
        Self { call, path: path.map(Into::into), errno, probe }
    }
}

impl From<Denied> for wire::Denied {
    fn from(denied: Denied) -> Self {
        Self { denials: list(denied.denials), omitted: denied.omitted }
    }
}
impl From<wire::Denied> for Denied {
    fn from(denied: wire::Denied) -> Self {
        Self { denials: list(denied.denials), omitted: denied.omitted }
    }
}
