//! Who may call which operation, as the operation itself declares it: `security(("api_key" = ["send"]))` in its OpenAPI part.
//!
//! What stands there is what the document shows and what [`Caller`](crate::keys::Caller)'s extractor enforces; there is no second
//! list. The scheme names one role: `read`, `send`, `control`, `setting`, `app` and `delete` are for keys of a session that have this
//! action, `any` for every key, `admin` for those of administrators. An operation without a role is closed to everybody.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::extract::MatchedPath;
use axum::http::Method;
use axum::http::request::Parts;
use serde_json::Value;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::Operation;

use super::{not_built, operations};
use crate::keys::Action;

/// The security scheme of the header.
pub(super) const IN_HEADER: &str = "api_key";
/// The security scheme of the query, for what a browser opens without a header.
pub(super) const IN_QUERY: &str = "api_key_in_query";

/// What the OpenAPI document does not have: websockets are none of its operations.
const SOCKETS: &[(Method, &str, Policy)] = &[(
    Method::GET,
    "/ws",
    Policy {
        access: Access::Action(Action::Read),
        in_query: true,
    },
)];

/// Every operation's policy.
static POLICIES: LazyLock<Policies> = LazyLock::new(|| {
    let mut policies = Policies::declared(&operations().into_openapi());
    for (method, path, policy) in SOCKETS {
        policies.put(method.clone(), path, *policy);
    }
    for (method, path, access) in not_built::OPERATIONS {
        let policy = Policy {
            access: *access,
            in_query: false,
        };
        policies.put(method.clone(), path, policy);
    }
    policies
});

/// Who may call an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    /// What the key must be good for.
    pub(super) access: Access,
    /// Whether the key may stand in the query.
    pub(super) in_query: bool,
}

/// What a key must be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Nothing but to be right.
    AnyKey,
    /// This, with the session that the request is about.
    Action(Action),
    /// Everything.
    Admin,
}

/// The policies of operations, by method and path.
struct Policies(HashMap<String, Vec<(Method, Policy)>>);

/// The policy of the operation that a request is for; `None` where it declares none.
pub(super) fn of(parts: &Parts) -> Option<Policy> {
    let path = parts.extensions.get::<MatchedPath>()?;
    POLICIES.get(&parts.method, path.as_str())
}

impl Policies {
    fn declared(document: &OpenApi) -> Self {
        let mut policies = Self(HashMap::new());
        for (path, item) in &document.paths.paths {
            for (method, operation) in [
                (Method::GET, &item.get),
                (Method::POST, &item.post),
                (Method::PUT, &item.put),
                (Method::DELETE, &item.delete),
                (Method::PATCH, &item.patch),
            ] {
                if let Some(policy) = operation.as_ref().and_then(declared) {
                    policies.put(method, path, policy);
                }
            }
        }
        policies
    }

    fn put(&mut self, method: Method, path: &str, policy: Policy) {
        self.0.entry(path.to_owned()).or_default().push((method, policy));
    }

    fn get(&self, method: &Method, path: &str) -> Option<Policy> {
        // A GET handler answers HEAD too.
        let method = match *method {
            Method::HEAD => &Method::GET,
            _ => method,
        };
        let policies = self.0.get(path)?;
        policies
            .iter()
            .find(|(own, _)| own == method)
            .map(|(_, policy)| *policy)
    }
}

/// What an operation declares.
pub(super) fn declared(operation: &Operation) -> Option<Policy> {
    let schemes = serde_json::to_value(operation.security.as_ref()?).ok()?;
    let schemes = schemes.as_array()?;
    let role = |scheme: &str| schemes.iter().find_map(|one| one.get(scheme)?.as_array().cloned());
    let in_header = role(IN_HEADER)?;
    let [Value::String(text)] = in_header.as_slice() else {
        return None;
    };
    Some(Policy {
        access: Access::parse(text)?,
        in_query: role(IN_QUERY).is_some(),
    })
}

impl Access {
    fn parse(role: &str) -> Option<Self> {
        match role {
            "any" => Some(Self::AnyKey),
            "admin" => Some(Self::Admin),
            role => Action::ALL
                .into_iter()
                .find(|action| action.as_str() == role)
                .map(Self::Action),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_but_ping_declares_who_may_call_it() {
        let document = serde_json::to_value(operations().into_openapi()).unwrap();
        let mut open = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                let method: Method = method.to_ascii_uppercase().parse().unwrap();
                if POLICIES.get(&method, path).is_none() {
                    open.push(format!("{method} {path}"));
                }
            }
        }
        assert_eq!(
            open,
            ["GET /ping"],
            "declare security((\"api_key\" = [\"<role>\"])) at these"
        );
    }

    #[test]
    fn what_is_in_no_document_is_closed_too() {
        for (method, path, access) in not_built::OPERATIONS {
            assert_ne!(*access, Access::AnyKey, "{method} {path}");
            assert_eq!(
                POLICIES.get(method, path).map(|policy| policy.access),
                Some(*access),
                "{method} {path}"
            );
        }
        let socket = POLICIES.get(&Method::GET, "/ws").unwrap();
        assert_eq!((socket.access, socket.in_query), (Access::Action(Action::Read), true));
        assert_eq!(POLICIES.get(&Method::HEAD, "/ws"), Some(socket));
        assert_eq!(POLICIES.get(&Method::POST, "/ws"), None);
    }

    #[test]
    fn both_schemes_of_an_operation_name_the_same_role() {
        let document = serde_json::to_value(operations().into_openapi()).unwrap();
        for (path, item) in document["paths"].as_object().unwrap() {
            for operation in item.as_object().unwrap().values() {
                let schemes = operation["security"].as_array().cloned().unwrap_or_default();
                let roles: Vec<_> = schemes
                    .iter()
                    .flat_map(|one| one.as_object().unwrap().values())
                    .collect();
                assert!(roles.windows(2).all(|pair| pair[0] == pair[1]), "{path}: {roles:?}");
            }
        }
    }

    #[test]
    fn roles_are_wahas_actions_any_and_admin() {
        assert_eq!(Access::parse("any"), Some(Access::AnyKey));
        assert_eq!(Access::parse("admin"), Some(Access::Admin));
        assert_eq!(Access::parse("send"), Some(Access::Action(Action::Send)));
        for role in ["", "Send", "manage", "*"] {
            assert_eq!(Access::parse(role), None, "{role}");
        }
    }
}
