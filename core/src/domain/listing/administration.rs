//! Namespaces, role bindings, denials and signing keys: short lists in an order of their own.

use crate::domain::access::Role;
use crate::domain::binding::RoleBinding;
use crate::domain::denial::Denial;
use crate::domain::filter::{EnumNames, Field, Filter, Listing, Order, Served, Value};
use crate::domain::key::{KeyInfo, KeyPurpose, KeyState, SIGNING_KEYS};
use crate::domain::outcome::Namespace;

const ROLES: EnumNames = EnumNames { prefix: "ROLE_", all: || Role::ALL.iter().map(|role| role.as_str()).collect() };
const PURPOSES: EnumNames =
    EnumNames { prefix: "KEY_PURPOSE_", all: || KeyPurpose::ALL.iter().map(|purpose| purpose.as_str()).collect() };
const STATES: EnumNames =
    EnumNames { prefix: "KEY_STATE_", all: || KeyState::ALL.iter().map(|state| state.as_str()).collect() };

/// Says what ListNamespaces takes.
pub static NAMESPACES: Listing<Namespace> = Listing {
    request: "ListNamespacesRequest",
    fields: &[
        Field::text("name", |namespace| Value::written(namespace.id.name())),
        Field::text("description", |namespace| Value::text(&namespace.description)),
        Field::time("create_time", |namespace| Value::Time(namespace.create_time)),
    ],
    orders: &[Order::ascending("name")],
};

/// Says what ListRoleBindings takes.
pub static BINDINGS: Listing<RoleBinding> = Listing {
    request: "ListRoleBindingsRequest",
    fields: &[
        Field::text("name", |binding| Value::written(&binding.name)),
        Field::enumeration("role", ROLES, |binding| Value::Enum(binding.role.as_str())),
        Field::text("member", |binding| Value::text(&binding.member)),
        Field::text("creator", |binding| Value::text(&binding.creator)),
        Field::time("create_time", |binding| Value::Time(binding.create_time)),
    ],
    orders: &[Order::ascending("name")],
};

/// Says what ListDenials takes.
pub static DENIALS: Listing<Denial> = Listing {
    request: "ListDenialsRequest",
    fields: &[
        Field::text("principal", |denial| Value::text(&denial.key.principal)),
        Field::text("method", |denial| Value::text(&denial.key.method)),
        Field::text("reason", |denial| Value::text(&denial.key.reason)),
        Field::text("permission", |denial| Value::text(&denial.key.permission)),
        Field::number("count", |denial| Value::Number(denial.count.count)),
        Field::time("first_time", |denial| Value::Time(denial.count.first)),
        Field::time("last_time", |denial| Value::Time(denial.count.last)),
    ],
    orders: &[],
};

/// Says what ListSigningKeys takes.
pub static KEYS: Listing<KeyInfo> = Listing {
    request: "ListSigningKeysRequest",
    fields: &[
        Field::text("name", |key| Value::written(format_args!("{SIGNING_KEYS}/{}", key.record.key_id))),
        Field::text("algorithm", |key| Value::text(&key.record.algorithm)),
        Field::enumeration("purpose", PURPOSES, |key| Value::Enum(key.purpose.as_str())),
        Field::enumeration("state", STATES, |key| Value::Enum(key.record.state.as_str())),
        Field::time("prepare_time", |key| Value::time(key.prepare_time())),
        Field::time("ready_time", |key| Value::time(key.ready_time)),
        Field::time("activate_time", |key| Value::time(key.record.activate_time)),
        Field::time("retire_time", |key| Value::time(key.record.retire_time)),
        Field::time("revoke_time", |key| Value::time(key.record.revoke_time)),
    ],
    orders: &[],
};

/// Says which denials a list holds, and what the index is asked for.
#[derive(Debug)]
pub struct DenialFilter {
    /// Only those of this principal.
    pub principal: Option<String>,
    /// Only those that it keeps.
    pub wanted: Filter<Denial>,
    /// Says whether some of what the index finds may be left out.
    pub is_search: bool,
}

impl DenialFilter {
    /// Makes the filter of a list of denials.
    #[must_use]
    pub fn new(wanted: Filter<Denial>) -> Self {
        let served = Served { ranges: &[], texts: &["principal"], enums: &[] };
        let principal = wanted.text("principal").map(str::to_owned);
        Self { principal, is_search: !wanted.is_served(served), wanted }
    }
}
