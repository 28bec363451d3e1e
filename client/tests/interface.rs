//! What programs rely on without a word: that clients and views go anywhere, and that watchers can be moved into tasks.

use policyhub_client::{Client, ClientError, NamespaceClient, Offers, Pages, PolicyInfo, View, Watcher};

fn is_shared<T: Send + Sync + Clone + 'static>() {}
fn is_moved<T: Send + Unpin + 'static>() {}

#[test]
fn clients_are_shared_and_watchers_are_moved() {
    is_shared::<Client>();
    is_shared::<NamespaceClient>();
    is_shared::<View>();
    is_shared::<ClientError>();
    is_moved::<Watcher>();
    is_moved::<Offers>();
    is_moved::<Pages<PolicyInfo>>();
}
