//! Rotation of signing keys during streams: a key is prepared, then signs, and the one before retires.

use policyhub::api::pb;

use super::{Promised, WorkloadContext};
use crate::calls::tried;

/// Largest number of rotations of a schedule: a store keeps 20 keys that are not revoked.
const ROTATIONS_MAX: usize = 12;

/// Rotates until the schedule ends, or there are enough keys.
pub async fn run(mut context: WorkloadContext) {
    for _ in 0..ROTATIONS_MAX {
        if context.recorder.stopped() {
            return;
        }
        let _ = rotate(&mut context).await;
        for _ in 0..5 {
            context.pause().await;
        }
    }
}

async fn rotate(context: &mut WorkloadContext) -> Option<()> {
    let algorithm = if context.rng.chance(50) { "EdDSA" } else { "ES256" };
    let request = pb::PrepareSigningKeyRequest { algorithm: algorithm.to_owned(), request_id: context.next_id() };
    let prepared = context
        .admin(|mut caller| {
            let request = request.clone();
            async move { caller.admin.prepare_signing_key(request).await }
        })
        .await?;
    let key_id = context.expect("a key is prepared", prepared)?.key?.name;
    context.pause().await;
    let request = pb::ActivateSigningKeyRequest {
        name: key_id.clone(),
        reason: "a schedule".to_owned(),
        request_id: context.next_id(),
    };
    let activated = context
        .admin(|mut caller| {
            let request = request.clone();
            async move { caller.admin.activate_signing_key(request).await }
        })
        .await?;
    let what = format!("key {key_id} signs");
    // A key that was prepared by a clock that was ahead is not old enough by a correct one.
    if activated.as_ref().is_err_and(|error| error.reason() == "KEY_NOT_READY") && context.clock_jumps {
        return Some(());
    }
    context.expect(&what, activated)?;
    // A later rotation retires it; nothing returns it to an earlier state.
    context.promised(Promised::new(what, move |caller| {
        let key_id = key_id.clone();
        async move {
            let listed = tried(caller.admin.clone().list_signing_keys(pb::ListSigningKeysRequest::default()))
                .await?
                .into_inner();
            let signs = listed.keys.iter().filter(|key| key.purpose() == pb::KeyPurpose::Bundle);
            let active = signs.filter(|key| key.state() == pb::KeyState::Active).count();
            let found = listed.keys.iter().find(|key| key.name == key_id);
            let lasts = |key: &pb::SigningKey| [pb::KeyState::Active, pb::KeyState::Retired].contains(&key.state());
            Ok(active == 1 && found.is_some_and(lasts))
        }
    }));
    Some(())
}
