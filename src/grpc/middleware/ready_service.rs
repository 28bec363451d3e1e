//! Moves a service into the future of its call.

/// Takes the service that was polled ready for this call, and leaves a clone of it, which is polled before the next call. A call of the
/// clone would be a call of a service that may not be ready.
pub(super) fn take_ready<S: Clone>(service: &mut S) -> S {
    let next = service.clone();
    std::mem::replace(service, next)
}
