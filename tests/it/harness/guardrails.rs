//! Guardrails for tests.

use policyhub::client::{Client, pb};

/// Returns a guardrail that refuses a version.
pub fn guardrail(id: &str, expression: &str) -> pb::Guardrail {
    pb::Guardrail {
        id: id.to_owned(),
        expression: expression.to_owned(),
        severity: pb::GuardrailSeverity::Deny.into(),
        ..Default::default()
    }
}

/// Returns the request that replaces a set.
pub fn update_guardrails(name: &str, guardrails: Vec<pb::Guardrail>) -> pb::UpdateGuardrailsRequest {
    let guardrails = Some(pb::Guardrails { name: name.to_owned(), guardrails, ..Default::default() });
    pb::UpdateGuardrailsRequest { guardrails, reason: "a test".to_owned(), ..Default::default() }
}

/// Replaces a set by guardrails of these ids and expressions.
pub async fn set_guardrails(client: &Client, name: &str, guardrails: &[(&str, &str)]) -> pb::UpdateGuardrailsResponse {
    let guardrails = guardrails.iter().map(|(id, expression)| guardrail(id, expression)).collect();
    client.update_guardrails(update_guardrails(name, guardrails)).await.expect("guardrails")
}
